/** Ctrl-C, and the signal that job schedulers send: the first one lets work save and end, the second ends at once. */

const INTERRUPTED = 130; // the exit code that shells give to a program ended by Ctrl-C

/**
 * Runs work that can be interrupted.
 * @param work is given a signal that aborts at the first SIGINT or SIGTERM
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) Deno.exit(INTERRUPTED);
    console.error("\nInterrupted: saving. Once more ends at once.");
    controller.abort();
  };
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  for (const signal of signals) Deno.addSignalListener(signal, onSignal);
  try {
    return await work(controller.signal);
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, onSignal);
  }
}

/** Whether an error only says that work was interrupted. */
export function isInterruption(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
