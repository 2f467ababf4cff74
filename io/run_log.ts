/**
 * The folder that a run leaves: `logs/{model}/{dataset}/{datetime}-{random}-{suffix}/`.
 *
 *     logs.txt           what was said, each line with its time
 *     train.json         JSON Lines: one object per logged step, {"step": 1, "loss": 2.5}
 *     test.json          results of the last test
 *     config.yaml        the resolved config
 *     environment.json   versions, adapter
 *     events.out.tfevents.*   the numbers of train.json for TensorBoard
 *     checkpoints/       see checkpoint_folder.ts
 *
 * Lines are appended and handed to the system at once, so that a kill loses none; other files are replaced whole. A
 * resumed run goes on in its folder: lines of steps that it will do again move to train_replaced.json. Times are UTC;
 * train.json holds none, so that equal runs leave equal files. `noLog` is the same interface, writing nothing.
 */

import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { AppendFile, exists, reasonOf, writeAtomic } from "./atomic.ts";
import { quote } from "./safetensors_header.ts";
import { EventFile } from "./tensorboard.ts";

/** Where a run writes what happens. */
export interface RunLog extends Disposable {
  /** The run's folder, as the user may type it; undefined where nothing is written. */
  readonly folder: string | undefined;
  /** Its folder of checkpoints, which may not exist yet. */
  readonly checkpoints: string | undefined;
  /** Appends text to logs.txt, a time before each of its lines. @throws {Error} when the disk refuses. */
  line(text: string): void;
  /**
   * Appends a step's values to train.json, and its numbers to TensorBoard; NaN and infinities are text in JSON.
   * @throws {RangeError} when the step is no whole number; {Error} when the disk refuses.
   */
  step(step: number, values: Readonly<Record<string, unknown>>): void;
  /** Writes test.json. @throws {Error} when the disk refuses. */
  test(results: unknown): Promise<void>;
  /** Returns when all is on the disk; before a checkpoint, so that its steps are in train.json too. */
  sync(): void;
}

/** What a run is, and where its folder goes. */
export interface RunLogOptions {
  /** The folder that holds logs/. */
  readonly workspace: string;
  readonly model: string;
  /** A name, or a folder, of which the last part is taken. */
  readonly dataset: string;
  /** Ends the folder's name. */
  readonly suffix?: string;
  /** The resolved config as YAML. */
  readonly config: string;
  /** JSON, such as {@link describeEnvironment} gives. */
  readonly environment: unknown;
  /** Goes on in the folder of an earlier run, after this step; without a step, nothing is done again. */
  readonly resume?: { readonly folder: string; readonly step?: number };
  /** Milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
  /** Tells runs of the same second apart. @default {six random hexadecimal digits} */
  readonly random?: () => string;
}

/** A run log that writes nothing, for `--no_log`. */
export const noLog: RunLog = {
  folder: undefined,
  checkpoints: undefined,
  line() {},
  step() {},
  test: () => Promise.resolve(),
  sync() {},
  [Symbol.dispose]() {},
};

/**
 * Makes a run's folder, or goes on in an earlier one.
 * @throws {RangeError} when a name is unfit, the folder cannot be written, or there is none to go on in.
 */
export async function openRunLog(options: RunLogOptions): Promise<RunLog> {
  const { config, environment, resume, now = Date.now } = options;
  using files = new DisposableStack();
  const folder = resume ? await earlierFolder(resume.folder) : await newFolder(options);
  try {
    if (resume) await dropSteps(folder, resume.step ?? Infinity);
    await writeAtomic(join(folder, "config.yaml"), config);
    await writeAtomic(join(folder, "environment.json"), prettyJson(environment));
    const lines = files.use(new AppendFile(join(folder, "logs.txt")));
    const steps = files.use(new AppendFile(join(folder, "train.json")));
    const resumeAt = resume?.step === undefined ? undefined : resume.step + 1;
    const events = files.use(new EventFile(folder, { now, resumeAt }));
    return new FolderLog(folder, lines, steps, events, now, files.move());
  } catch (error) {
    throw unwritable(folder, error, resume !== undefined);
  }
}

class FolderLog implements RunLog {
  readonly checkpoints: string;

  constructor(
    readonly folder: string,
    private readonly lines: AppendFile,
    private readonly steps: AppendFile,
    private readonly events: EventFile,
    private readonly now: () => number,
    private readonly files: DisposableStack,
  ) {
    this.checkpoints = join(folder, "checkpoints");
  }

  line(text: string): void {
    const time = new Date(this.now()).toISOString();
    const lines = text.trimEnd().split("\n").map((line) => `${time} ${line}\n`);
    this.#write("logs.txt", () => this.lines.append(lines.join("")));
  }

  step(step: number, values: Readonly<Record<string, unknown>>): void {
    if (!Number.isSafeInteger(step) || step < 0) {
      throw new RangeError(`run log: step must be a whole number >= 0, got ${step}`);
    }
    const numbers = Object.entries(values).filter((pair): pair is [string, number] =>
      typeof pair[1] === "number"
    );
    const line = JSON.stringify({ step, ...values }, textForNonFinite);
    this.#write("train.json", () => this.steps.append(`${line}\n`));
    if (numbers.length === 0) return;
    this.#write("event file", () => this.events.scalars(step, Object.fromEntries(numbers)));
  }

  async test(results: unknown): Promise<void> {
    try {
      await writeAtomic(join(this.folder, "test.json"), prettyJson(results));
    } catch (error) {
      throw this.#refused("test.json", error);
    }
  }

  sync(): void {
    for (const file of [this.lines, this.steps, this.events]) {
      this.#write("logs", () => file.sync());
    }
  }

  [Symbol.dispose](): void {
    this.files.dispose();
  }

  #write(what: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      throw this.#refused(what, error);
    }
  }

  #refused(what: string, error: unknown): Error {
    const next = "what was written before is whole; free disk space or allow writing there, then " +
      `go on with --resume_ckpt_path=${join(this.checkpoints, "last")}`;
    const where = `cannot write ${what} in ${quote(this.folder)}`;
    return new Error(`${where}: ${reasonOf(error)}; ${next}`, { cause: error });
  }
}

/** The run's folder that a checkpoint lies in; undefined where it lies elsewhere. */
export function runFolderOf(checkpoint: string): string | undefined {
  const parent = dirname(checkpoint);
  return basename(parent) === "checkpoints" ? dirname(parent) : undefined;
}

/**
 * What ran and on what, without a path of this machine.
 * @param adapter the adapter's description, JSON
 * @param model name and commit of a model of the Hub; undefined for a folder
 * @returns JSON for environment.json: versions of Deno and of the packages, system, cores, adapter
 */
export async function describeEnvironment(
  adapter: unknown,
  model?: { readonly name: string; readonly commit: string },
): Promise<Record<string, unknown>> {
  return {
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    typescript: Deno.version.typescript,
    packages: await pinnedPackages(),
    os: Deno.build.os,
    arch: Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    adapter,
    ...model && { model },
  };
}

/** The pinned packages of deno.json, read and not imported: a program that only uses the library may lack it. */
async function pinnedPackages(): Promise<unknown> {
  try {
    const path = fileURLToPath(new URL("../deno.json", import.meta.url));
    return JSON.parse(await Deno.readTextFile(path)).imports ?? {};
  } catch {
    return null;
  }
}

async function newFolder(options: RunLogOptions): Promise<string> {
  const { workspace, model, dataset, suffix = "", now = Date.now, random = randomDigits } = options;
  // A dataset may be any folder of the user's, so its name is made to fit; the others are refused.
  const fitting = basename(dataset).replace(/[^\p{L}\p{N}_.-]+|^\.+/gu, "_");
  const names = { model, dataset: fitting, log_suffix: suffix || "none" };
  for (const [key, name] of Object.entries(names)) {
    if (/^[\p{L}\p{N}_-][\p{L}\p{N}_.-]*$/u.test(name)) continue;
    const rule = "it names a folder: use letters, digits, '-', '_', and '.' but not first";
    throw new RangeError(`${key} ${quote(name)} cannot be logged; ${rule}`);
  }
  const parent = join(workspace, "logs", names.model, names.dataset);
  const time = new Date(now()).toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
  try {
    await Deno.mkdir(parent, { recursive: true });
    for (let attempt = 1;; attempt++) {
      const folder = join(parent, [time, random(), suffix].filter(Boolean).join("-"));
      try {
        await Deno.mkdir(folder);
        return folder;
      } catch (error) {
        if (!(error instanceof Deno.errors.AlreadyExists) || attempt === 10) throw error;
      }
    }
  } catch (error) {
    throw unwritable(parent, error);
  }
}

async function earlierFolder(folder: string): Promise<string> {
  if (await exists(join(folder, "train.json"))) return folder;
  const rule = "a run's folder has a train.json; name a checkpoint below logs/";
  throw new RangeError(
    `cannot go on in ${quote(folder)}: ${rule}, or start anew with --load_ckpt_path`,
  );
}

/** Takes lines after a step out of train.json, and what a power failure tore; ends logs.txt with a whole line. */
async function dropSteps(folder: string, step: number): Promise<void> {
  const path = join(folder, "train.json");
  const text = await Deno.readTextFile(path);
  const [kept, dropped]: [string[], string[]] = [[], []];
  for (const line of text.split("\n").filter(Boolean)) {
    (stepOf(line) <= step ? kept : dropped).push(`${line}\n`);
  }
  if (dropped.length > 0) {
    using replaced = new AppendFile(join(folder, "train_replaced.json"));
    replaced.append(dropped.join(""));
    replaced.sync();
  }
  if (kept.join("") !== text) await writeAtomic(path, kept.join(""));
  const said = join(folder, "logs.txt");
  if (!await exists(said) || /(^|\n)$/.test(await Deno.readTextFile(said))) return;
  using lines = new AppendFile(said);
  lines.append("\n");
}

function stepOf(line: string): number {
  try {
    return JSON.parse(line).step ?? NaN;
  } catch {
    return NaN; // torn: not kept
  }
}

function randomDigits(): string {
  return crypto.getRandomValues(new Uint8Array(3)).toHex();
}

function unwritable(folder: string, error: unknown, isResumed = false): RangeError {
  const next = isResumed
    ? "what was written before is whole; free disk space or allow writing there"
    : "name a folder that can be written with --workspace_path, or add --no_log";
  return new RangeError(`cannot write logs in ${quote(folder)}: ${reasonOf(error)}; ${next}`, {
    cause: error,
  });
}

function textForNonFinite(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

function prettyJson(value: unknown): string {
  return `${JSON.stringify(value, textForNonFinite, 2)}\n`;
}
