/** The command line: a command and its options, to an exit code: 0 done, 1 failed, 2 the user's mistake, 130 Ctrl-C. */
import { type Command, INTERRUPTED } from "./commands/command.ts";
import { data } from "./commands/data.ts";
import { doctor } from "./commands/doctor.ts";
import { exportCheckpoint } from "./commands/export.ts";
import { push } from "./commands/push.ts";
import { report } from "./commands/report.ts";
import { test } from "./commands/test.ts";
import { train } from "./commands/train.ts";
import { callersFolder } from "./io/callers_folder.ts";
import { helpText, parseCommand, unknown } from "./io/command_line.ts";
import { isInterruption } from "./io/interrupt.ts";
import { userMessage } from "./io/user_error.ts";

const COMMANDS: Readonly<Record<string, Command>> = {
  ...{ train, test, data, export: exportCheckpoint, push, report, doctor },
};

/**
 * Runs a command line.
 * @param folder from which relative paths count, those given and those printed. @default the current one
 * @returns the exit code
 */
export async function main(args: readonly string[], folder?: string): Promise<number> {
  try {
    if (folder !== undefined) Deno.chdir(folder);
    const [name = "--help", ...rest] = args;
    if (name === "--help" || name === "-h" || rest.includes("--help")) {
      console.log(helpText(COMMANDS));
      return 0;
    }
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (!command) throw unknown("command", name, Object.keys(COMMANDS));
    return await command.run(parseCommand(name, command, rest));
  } catch (error) {
    if (isInterruption(error)) {
      console.error("Interrupted; what was saved before is whole.");
      return INTERRUPTED;
    }
    const message = userMessage(error);
    if (message === undefined) throw error;
    console.error(message);
    return 2;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args, callersFolder()));
