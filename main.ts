/** The command line: a command and its options, to an exit code: 0 done, 1 failed, 2 the user's mistake. */
import { parseArgs } from "node:util";
import { examine, problemsOf } from "./io/doctor.ts";
import { doctorReport } from "./io/doctor_report.ts";
import { nearest } from "./io/nearest.ts";

/** What a command was given: text options by name, and true for flags. */
type Values = Readonly<Record<string, string | boolean | undefined>>;

interface Command {
  readonly help: string;
  readonly options: Readonly<Record<string, { readonly type: "string" | "boolean" }>>;
  run(values: Values): Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  doctor: {
    help: `doctor                what computes here, how fast, and what to do about problems
    --kernels=KERNELS   auto (default), tiled, subgroup, or a register tile: subgroup:32x8
    --json              the same as JSON`,
    options: { kernels: { type: "string" }, json: { type: "boolean" } },
    run: async ({ kernels, json }) => {
      const facts = await examine({ kernels: kernels as string | undefined });
      const problems = problemsOf(facts);
      console.log(
        json ? JSON.stringify({ ...facts, problems }, null, 2) : doctorReport(facts, problems),
      );
      return facts.adapter ? 0 : 1;
    },
  },
};

/**
 * Runs a command line.
 * @returns the exit code
 */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const [name = "--help", ...rest] = args;
    if (name === "--help" || name === "-h" || rest.includes("--help")) {
      const helps = Object.values(COMMANDS).map(({ help }) => `  ${help}`);
      console.log(`Usage: main.ts COMMAND [options]\n\n${helps.join("\n")}\n  --help`);
      return 0;
    }
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (!command) throw unknown("command", name, Object.keys(COMMANDS));
    return await command.run(parse(name, command, rest));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    console.error(error.message); // a user's mistake: one line that says what to do
    return 2;
  }
}

function parse(name: string, { options }: Command, args: string[]): Values {
  const { values, tokens } = parseArgs({ args, options, strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind === "positional") {
      throw new RangeError(`${name} takes options only, got '${token.value}'; see --help`);
    }
    if (token.kind !== "option") continue;
    const type = Object.hasOwn(options, token.name) ? options[token.name].type : undefined;
    if (!type) throw unknown("option", token.rawName, Object.keys(options).map((o) => `--${o}`));
    if (type === "string" && token.value === undefined) {
      throw new RangeError(`${token.rawName} needs a value, as in ${token.rawName}=auto`);
    }
    if (type === "boolean" && token.value !== undefined) {
      throw new RangeError(`${token.rawName} takes no value, got '${token.value}'`);
    }
  }
  return values as Values;
}

function unknown(kind: string, word: string, known: string[]): RangeError {
  const near = nearest(word, known);
  const hint = near ? `did you mean '${near}'?` : `there is: ${known.join(", ")}`;
  return new RangeError(`Unknown ${kind} '${word}' (${hint})`);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
