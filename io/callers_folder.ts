/**
 * The folder that a command was given in: `deno task` runs commands in the project's folder and names the caller's in
 * INIT_CWD, as npm does. Relative paths of a command line mean the caller's folder.
 */

/** The caller's folder, where a task started this process; undefined where none did, or it may not be known. */
export function callersFolder(): string | undefined {
  // Asked first, so that a program started without this permission neither fails nor prompts.
  const { state } = Deno.permissions.querySync({ name: "env", variable: "INIT_CWD" });
  return state === "granted" ? Deno.env.get("INIT_CWD") || undefined : undefined;
}
