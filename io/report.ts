/** What a command tells its user: lines, which the run's log keeps too, above the progress display while one is shown. */
import { join } from "node:path";
import { exists } from "./atomic.ts";
import { Progress, type ProgressOptions } from "./progress.ts";
import { noLog, type RunLog } from "./run_log.ts";

/** Prints lines and shows progress; knows whether a display is on the screen. */
export class Report {
  #bar: Progress | undefined;

  /**
   * @param log where lines go besides the screen; may be set later, when the run has its folder
   * @param isQuiet prints nothing
   */
  constructor(public log: RunLog = noLog, private readonly isQuiet = false) {}

  /** Prints and logs a line, or several. */
  line(text: string): void {
    this.log.line(text);
    this.show(text);
  }

  /** Prints without logging: what belongs to no run. */
  show(text: string): void {
    if (this.isQuiet) return;
    if (this.#bar) this.#bar.print(text);
    else console.log(text);
  }

  /** Shows progress while `work` runs; inside another progress, the outer one stays. */
  async progress<T>(
    options: Pick<ProgressOptions, "label" | "total" | "start" | "isBytes">,
    work: (bar: Progress) => Promise<T>,
  ): Promise<T> {
    using bar = new Progress({ ...options, isQuiet: this.isQuiet });
    const outer = this.#bar;
    this.#bar = bar;
    try {
      return await work(bar);
    } finally {
      this.#bar = outer;
    }
  }
}

/**
 * Reads what a run's last test left.
 * @param folder a run's folder
 * @returns the value of its test.json; undefined where there is none that can be read
 */
export async function readTestResults(folder: string): Promise<unknown> {
  const path = join(folder, "test.json");
  if (!await exists(path)) return undefined;
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch {
    return undefined; // it only adds a line to a table
  }
}
