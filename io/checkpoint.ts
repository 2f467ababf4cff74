/**
 * Checkpoints of a run: trained tensors, optimizer, and everything else that resuming needs.
 *
 *     checkpoints/last/model.safetensors       trained tensors, float32, under the published names
 *                      optimizer.safetensors   exp_avg.NAME and exp_avg_sq.NAME of each; absent without an optimizer
 *                      state.json              format, version, size and SHA-256 of the others, state, config; itself
 *                                              checked by a SHA-256 over the rest of its text; written last
 *
 * A folder is replaced whole (atomic.ts), so a kill leaves the old or the new one. What is torn, changed, of another
 * format or version is refused by name. Which checkpoints of a run stay is said in checkpoint_folder.ts.
 */

import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import {
  disk,
  exists,
  type Files,
  findFolder,
  reasonOf,
  replaceFolder,
  writeSynced,
} from "./atomic.ts";
import { LFS_HEAD, refuseLfsPointer } from "./lfs_pointer.ts";
import { fileSource, openSafetensors, safetensorsChunks } from "./safetensors.ts";
import { type Bytes, isSize, parseObject, quote, type TensorData } from "./safetensors_header.ts";

const FORMAT = "colar-webgpu checkpoint";
const VERSION = 1;
const MODEL = "model.safetensors";
const OPTIMIZER = "optimizer.safetensors";
const STATE = "state.json";

/** A tensor's numbers in row-major order. */
export interface CheckpointTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Running means of gradients and their squares by parameter, and the steps done. */
export interface CheckpointOptimizer {
  readonly step: number;
  readonly moments: ReadonlyMap<
    string,
    { readonly expAvg: Float32Array; readonly expAvgSq: Float32Array }
  >;
}

/** Where a run stands: JSON, with data position, random counters and so on as the trainer likes. */
export type RunState = Readonly<Record<string, unknown>> & {
  readonly epoch: number;
  /** Optimizer steps done. */
  readonly step: number;
};

/** What {@link saveCheckpoint} keeps. */
export interface Checkpoint {
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  readonly optimizer?: CheckpointOptimizer;
  readonly state: RunState;
  /** The resolved config, JSON. */
  readonly config: unknown;
  /** The monitored value after this step, such as accuracy; NaN counts as none. */
  readonly monitor?: number;
}

/** A checkpoint without its tensors. */
export type CheckpointSummary = Pick<Checkpoint, "state" | "config" | "monitor">;

interface FileFacts {
  readonly bytes: number;
  readonly sha256: string;
}

interface StateFile extends CheckpointSummary {
  readonly files: ReadonlyMap<string, FileFacts>;
  readonly optimizerStep: number | undefined;
}

/**
 * Saves a checkpoint as the folder `path`, whole or not at all, on the disk when it returns.
 * @param path its parent exists; a checkpoint there is replaced
 * @throws {TypeError} for state that is not JSON or moments that do not fit their tensor; {Error} when the disk refuses.
 */
export async function saveCheckpoint(
  path: string,
  checkpoint: Checkpoint,
  files: Files = disk,
): Promise<void> {
  const { tensors, optimizer, state, config } = checkpoint;
  checkJson(state, "state");
  checkJson(config, "config");
  const contents: [string, Map<string, TensorData>][] = [[MODEL, tensorsOf(tensors)]];
  if (optimizer) contents.push([OPTIMIZER, momentsOf(optimizer, tensors)]);
  const chunks = contents.map(([name, data]) =>
    [name, safetensorsChunks(data, new Map([["format", "pt"]]))] as const
  );
  try {
    await replaceFolder(path, async (folder) => {
      const facts: Record<string, FileFacts> = {};
      for (const [name, bytes] of chunks) {
        facts[name] = await writeHashed(join(folder, name), bytes, files);
      }
      const text = stateText(checkpoint, facts);
      await writeSynced(join(folder, STATE), [new TextEncoder().encode(text)], files);
    }, files);
  } catch (error) {
    const rule = "what was saved before is whole; free disk space or allow writing there";
    throw new Error(
      `cannot save checkpoint ${quote(path)}: ${reasonOf(error)}; ${rule}, then resume from it`,
      { cause: error },
    );
  }
}

/**
 * Loads a checkpoint after comparing its files with what state.json says of them.
 * @param options.optimizer whether to read the optimizer too; initialising a run needs none
 * @throws {RangeError} when `path` names no checkpoint; {SyntaxError} when it is torn, changed or of another version;
 * {TypeError} when a file of it is a pointer of Git LFS.
 */
export async function loadCheckpoint(
  path: string,
  options: { readonly optimizer?: boolean } = {},
): Promise<Checkpoint> {
  const folder = await findCheckpoint(path);
  const { files, optimizerStep, ...summary } = await readState(folder, path);
  const read = async (name: string) => {
    await checkFile(folder, name, files.get(name)!, path);
    return await readTensors(join(folder, name));
  };
  for (const [name, { bytes }] of files) await checkSize(folder, name, bytes, path);
  const tensors = await read(MODEL);
  if (optimizerStep === undefined || options.optimizer === false) return { tensors, ...summary };
  const all = await read(OPTIMIZER);
  const moments = new Map<string, { expAvg: Float32Array; expAvgSq: Float32Array }>();
  for (const name of tensors.keys()) {
    const [expAvg, expAvgSq] = [all.get(`exp_avg.${name}`), all.get(`exp_avg_sq.${name}`)];
    if (expAvg && expAvgSq) moments.set(name, { expAvg: expAvg.data, expAvgSq: expAvgSq.data });
  }
  return { tensors, optimizer: { step: optimizerStep, moments }, ...summary };
}

/**
 * Reads only what a checkpoint says of itself: state, config, monitored value.
 * @throws {RangeError} or {SyntaxError} as {@link loadCheckpoint} does.
 */
export async function readCheckpoint(path: string): Promise<CheckpointSummary> {
  const { state, config, monitor } = await readState(await findCheckpoint(path), path);
  return { state, config, monitor };
}

/** Names of the complete-looking checkpoints in a folder, sorted. */
export async function checkpointsIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.startsWith(".") && await exists(join(folder, name, STATE))) names.push(name);
  }
  return names.sort();
}

async function findCheckpoint(path: string): Promise<string> {
  const folder = await findFolder(path);
  if (folder === undefined) {
    throw new RangeError(`no checkpoint ${quote(path)}; ${await othersBeside(path)}`);
  }
  const { isDirectory } = await Deno.stat(folder);
  const rule = `a checkpoint is a folder that a run saved, with ${STATE}`;
  if (!isDirectory) throw new RangeError(`${quote(path)} is not a folder; ${rule}`);
  if (await exists(join(folder, STATE))) return folder;
  for (const run of [join(path, "checkpoints"), path]) {
    if (!await exists(join(run, "last", STATE))) continue;
    throw new RangeError(
      `${quote(path)} holds checkpoints; name one, such as ${join(run, "last")}`,
    );
  }
  const isModel = await exists(join(folder, "config.json"));
  const next = isModel ? "; a base model is named with model_id" : "";
  throw new RangeError(`${quote(path)} has no ${STATE}; ${rule}${next}`);
}

async function othersBeside(path: string): Promise<string> {
  const parent = dirname(path);
  const names = await exists(parent) ? await checkpointsIn(parent).catch(() => []) : [];
  const others = names.filter((name) => name !== basename(path));
  if (others.length === 0) return "name a folder that a run saved, such as checkpoints/last";
  return `${parent} has: ${others.join(", ")}`;
}

async function refusal(path: string, file: string, what: string): Promise<SyntaxError> {
  return new SyntaxError(
    `${join(path, file)}: ${what}; use another checkpoint: ${await othersBeside(path)}`,
  );
}

async function checkSize(folder: string, name: string, bytes: number, path: string) {
  if (!await exists(join(folder, name))) {
    throw await refusal(path, name, `missing, but ${STATE} lists it`);
  }
  const { size } = await Deno.stat(join(folder, name));
  if (size === bytes) return;
  using source = await fileSource(join(folder, name));
  refuseLfsPointer(await source.read(0, Math.min(LFS_HEAD, size)), join(path, name));
  throw await refusal(path, name, `torn: ${size} bytes, but ${STATE} says ${bytes}`);
}

async function checkFile(folder: string, name: string, { sha256 }: FileFacts, path: string) {
  const hash = createHash("sha256");
  using file = await Deno.open(join(folder, name));
  const buffer = new Uint8Array(1 << 20);
  for (let count = await file.read(buffer); count !== null; count = await file.read(buffer)) {
    hash.update(buffer.subarray(0, count));
  }
  if (hash.digest("hex") === sha256) return;
  throw await refusal(path, name, `changed: its SHA-256 is not what ${STATE} says`);
}

async function readTensors(path: string) {
  using source = await fileSource(path);
  const file = await openSafetensors(source);
  const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const { name, shape } of file.tensors.values()) {
    tensors.set(name, { shape, data: await file.readFloat32(name) });
  }
  return tensors;
}

async function writeHashed(path: string, chunks: Iterable<Bytes>, files: Files) {
  const hash = createHash("sha256");
  let bytes = 0;
  function* measured() {
    for (const chunk of chunks) {
      hash.update(chunk);
      bytes += chunk.length;
      yield chunk;
    }
  }
  await writeSynced(path, measured(), files);
  return { bytes, sha256: hash.digest("hex") };
}

function stateText(
  { optimizer, state, config, monitor = NaN }: Checkpoint,
  files: Readonly<Record<string, FileFacts>>,
): string {
  const content = {
    format: FORMAT,
    version: VERSION,
    files,
    optimizer_step: optimizer?.step ?? null,
    monitor: Number.isNaN(monitor) ? null : String(monitor), // text, for infinities
    state,
    config,
  };
  return `${JSON.stringify({ ...content, sha256: checksum(content) }, null, 2)}\n`;
}

function checksum(content: unknown): string {
  return createHash("sha256").update(JSON.stringify(content)).digest("hex");
}

async function readState(folder: string, path: string): Promise<StateFile> {
  const text = await Deno.readTextFile(join(folder, STATE));
  let content: Record<string, unknown>;
  try {
    content = parseObject(text, STATE);
  } catch {
    throw await refusal(path, STATE, `torn: ${text.length} characters that are no JSON object`);
  }
  const { sha256, ...rest } = content;
  const { format, version } = rest;
  if (format !== FORMAT) {
    throw await refusal(path, STATE, `format is ${quote(format)}, not ${quote(FORMAT)}`);
  }
  if (version !== VERSION) {
    const rule = `version is ${quote(version)}, and this program reads ${VERSION}`;
    throw new SyntaxError(`${join(path, STATE)}: ${rule}; use the program that saved it`);
  }
  if (sha256 !== checksum(rest)) {
    throw await refusal(path, STATE, "changed: its SHA-256 is not that of its content");
  }
  const files = new Map(Object.entries(rest.files as Record<string, FileFacts>));
  const known = [...files].every(([name, { bytes }]) =>
    [MODEL, OPTIMIZER].includes(name) && isSize(bytes)
  );
  const step = rest.optimizer_step ?? undefined;
  if (!known || !files.has(MODEL) || files.has(OPTIMIZER) !== (step !== undefined)) {
    throw await refusal(
      path,
      STATE,
      `files ${quote([...files.keys()].join())} are not a version 1's`,
    );
  }
  return {
    files,
    optimizerStep: step as number | undefined,
    state: rest.state as RunState,
    config: rest.config,
    ...rest.monitor === null ? {} : { monitor: Number(rest.monitor) },
  };
}

function tensorsOf(tensors: ReadonlyMap<string, CheckpointTensor>): Map<string, TensorData> {
  return new Map([...tensors].map(([name, { shape, data }]) => [name, float32(shape, data)]));
}

function momentsOf(
  { moments }: CheckpointOptimizer,
  tensors: ReadonlyMap<string, CheckpointTensor>,
): Map<string, TensorData> {
  const all = new Map<string, TensorData>();
  for (const [name, { expAvg, expAvgSq }] of moments) {
    const tensor = tensors.get(name);
    if (!tensor) {
      throw new TypeError(`checkpoint: moments of ${quote(name)}, which is no tensor of it`);
    }
    all.set(`exp_avg.${name}`, float32(tensor.shape, expAvg));
    all.set(`exp_avg_sq.${name}`, float32(tensor.shape, expAvgSq));
  }
  return all;
}

function float32(shape: readonly number[], data: Float32Array): TensorData {
  // Files take bytes that no other thread shares, which the type does not say of every Float32Array.
  const { buffer, byteOffset, length } = data;
  const own = buffer instanceof ArrayBuffer
    ? new Float32Array(buffer, byteOffset, length)
    : data.slice();
  return { dtype: "F32", shape, data: own };
}

/** @throws {TypeError} naming the first value that JSON would drop or change. */
function checkJson(value: unknown, path: string): void {
  if (value === null || typeof value === "boolean" || typeof value === "string") return;
  if (typeof value === "number" && Number.isFinite(value)) return;
  const isPlain = typeof value === "object" &&
    [Object.prototype, Array.prototype, null].includes(Object.getPrototypeOf(value));
  if (!isPlain) {
    const what = typeof value === "object" ? value.constructor.name : String(value);
    throw new TypeError(
      `checkpoint: ${path} is ${what}; it must be JSON: store it as a list or text`,
    );
  }
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined || Array.isArray(value)) checkJson(item, `${path}.${key}`);
  }
}
