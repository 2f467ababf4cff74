/** Parsing of a command's arguments by its table of options, and the help text that the same table gives. */
import { parseArgs } from "node:util";
import { nearest } from "./nearest.ts";

/** An option of a command. */
export interface Option {
  /** How help names its value, such as `FILE`; undefined for a flag, which takes none. */
  readonly value?: string;
  readonly help: string;
}

/** A command's table. */
export interface CommandTable {
  readonly help: string;
  /** By name, without the dashes. */
  readonly options: Readonly<Record<string, Option>>;
  /** Whether `key=value` arguments follow. */
  readonly takesSettings?: boolean;
  /** How help names the paths that follow instead, such as `RUN`; undefined where none do. */
  readonly takesPaths?: string;
}

/** What a command was given. */
export interface Given {
  /** Values of text options. */
  readonly text: Readonly<Record<string, string | undefined>>;
  /** Flags that were set. */
  readonly flags: ReadonlySet<string>;
  /** `key=value` arguments, or paths, in order. */
  readonly settings: readonly string[];
}

/**
 * Parses arguments.
 * @param name the command's
 * @throws {RangeError} for an unknown option, a value that is missing or too much, or an argument that is none.
 */
export function parseCommand(name: string, table: CommandTable, args: readonly string[]): Given {
  const { options, takesSettings = false, takesPaths } = table;
  const types = Object.fromEntries(
    Object.entries(options).map((
      [option, { value }],
    ) => [option, { type: value ? "string" as const : "boolean" as const }]),
  );
  const { tokens } = parseArgs({ args: [...args], options: types, strict: false, tokens: true });
  const text: Record<string, string> = {};
  const flags = new Set<string>();
  const settings: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") {
      if (!takesSettings && takesPaths === undefined) {
        throw new RangeError(`${name} takes options only, got '${token.value}'; see --help`);
      }
      settings.push(token.value);
    } else if (token.kind === "option") {
      const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
      if (!option) {
        throw unknown("option", token.rawName, Object.keys(options).map((o) => `--${o}`));
      }
      if (option.value && token.value === undefined) {
        throw new RangeError(
          `${token.rawName} needs a value, as in ${token.rawName}=${option.value}`,
        );
      }
      if (!option.value && token.value !== undefined) {
        throw new RangeError(`${token.rawName} takes no value, got '${token.value}'`);
      }
      if (token.value === undefined) flags.add(token.name);
      else text[token.name] = token.value;
    }
  }
  return { text, flags, settings };
}

/** The help of all commands, in the order of the table. */
export function helpText(commands: Readonly<Record<string, CommandTable>>): string {
  const blocks = Object.entries(commands).map(([name, { help, options, ...table }]) => {
    const lines = Object.entries(options).map(([option, { value, help }]) =>
      `    ${(value ? `--${option}=${value}` : `--${option}`).padEnd(32)}  ${help}`
    );
    const { takesSettings, takesPaths } = table;
    const more = takesSettings ? " [key=value ...]" : takesPaths ? ` ${takesPaths} ...` : "";
    const head = `  ${`${name} [options]${more}`.padEnd(34)}  ${help}`;
    return [head, ...lines].join("\n");
  });
  return `Usage: main.ts COMMAND\n\n${blocks.join("\n\n")}\n\n  --help`;
}

/** The error for a word that is not known. */
export function unknown(kind: string, word: string, known: readonly string[]): RangeError {
  const near = nearest(word, known);
  const hint = near ? `did you mean '${near}'?` : `there is: ${known.join(", ")}`;
  return new RangeError(`Unknown ${kind} '${word}' (${hint})`);
}
