/**
 * Safetensors files: ranged reading, sharded checkpoints, and a deterministic writer that replaces files whole.
 *
 * A file is a header length (8 bytes, little-endian), a JSON header `{name: {dtype, shape, data_offsets}}` with an
 * optional `__metadata__` of strings, then the data. Opening reads only the header; a tensor's bytes are read when
 * asked for. Sizes, dtypes and coverage of the data are checked as the reference library does; repeated names and
 * unknown keys of an entry, which it overlooks, are refused too. A malformed file is a SyntaxError of one line that
 * starts with the file's name.
 *
 * Source: https://github.com/huggingface/safetensors (README, "Format"; the order of writing is `prepare` in tensor.rs).
 */

import { join } from "node:path";
import { exists, writeAtomic } from "./atomic.ts";
import { bytesToFloat32, bytesToInt32, int32ToInt64Bytes } from "./float16.ts";
import {
  type Bytes,
  type ByteSource,
  compareUtf8,
  type Contents,
  DTYPES,
  encodeHeader,
  isSize,
  malformed,
  parseObject,
  quote,
  readContents,
  stringEntries,
  type TensorData,
  type TensorInfo,
} from "./safetensors_header.ts";

/** Endings of files that hold weights in some format; of safetensors only the names that {@link openCheckpoint} knows are read. */
export const OTHER_WEIGHTS = /\.(bin|pt|pth|ckpt|h5|msgpack|gguf|onnx|safetensors)$/;

export type { ByteSource, TensorData, TensorInfo } from "./safetensors_header.ts";

/** Opened tensors, of one file or of several shards; disposing closes the files that opening opened. */
export interface Safetensors extends Disposable {
  /** By name; in one file, in the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: ReadonlyMap<string, string>;
  /** Reads a tensor's raw bytes. @throws RangeError for an unknown name */
  read(name: string): Promise<Bytes>;
  /** Reads F32, F16 and BF16 exactly and F64 rounded. @throws TypeError for any other dtype */
  readFloat32(name: string): Promise<Float32Array<ArrayBuffer>>;
  /** Reads I32, I64, U8 and BOOL. @throws TypeError for any other dtype, RangeError outside int32 */
  readInt32(name: string): Promise<Int32Array<ArrayBuffer>>;
}

/** A tensor read whole: floats as float32, integers as int32. */
export interface LoadedTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;
}

/**
 * Makes bytes in memory a source.
 * @returns a source whose reads are copies
 */
export function bytesSource(bytes: Uint8Array, name: string): ByteSource {
  return {
    name,
    byteLength: bytes.length,
    // deno-lint-ignore require-await -- async, so that a bad range rejects as it does for files
    async read(start, end) {
      checkRange(this, start, end);
      return bytes.slice(start, end);
    },
  };
}

/**
 * Opens a local file as a source.
 * @returns a source that holds the file open until disposed
 * @throws TypeError if the path is not a file, Deno.errors.NotFound if nothing is there
 */
export async function fileSource(path: string): Promise<ByteSource & Disposable> {
  const { isFile, size } = await Deno.stat(path);
  if (!isFile) throw new TypeError(`${path}: not a file; name a .safetensors file`);
  const file = await Deno.open(path, { read: true });
  let last: Promise<unknown> = Promise.resolve();
  const source: ByteSource & Disposable = {
    name: path,
    byteLength: size,
    read(start, end) {
      // Seek and read are two steps on one handle, so overlapping calls must queue.
      const bytes = last.then(() => {
        checkRange(source, start, end);
        return readRange(file, path, start, end);
      });
      last = bytes.catch(() => {});
      return bytes;
    },
    [Symbol.dispose]: () => file.close(),
  };
  return source;
}

/**
 * Reads and checks a source's header; no tensor data is read.
 * @returns the tensors; disposing them leaves the source open
 * @throws SyntaxError if the file is malformed
 */
export async function openSafetensors(source: ByteSource): Promise<Safetensors> {
  return tensorReader(await readContents(source), new DisposableStack());
}

/**
 * Opens a folder in Hub layout: `model.safetensors`, else the shards of `model.safetensors.index.json`.
 * @returns the tensors of the file, or those that the index names
 * @throws Deno.errors.NotFound if a file is missing, SyntaxError if one is malformed or contradicts the index
 */
export async function openCheckpoint(folder: string): Promise<Safetensors> {
  using files = new DisposableStack();
  const open = async (path: string) => await readContents(files.use(await fileSource(path)));
  const single = join(folder, "model.safetensors");
  if (await exists(single)) return tensorReader(await open(single), files.move());
  const index = `${single}.index.json`;
  if (!await exists(index)) {
    throw new Deno.errors.NotFound(`${folder}: ${await lackOf(folder)}`);
  }
  const all = await readShards(await Deno.readTextFile(index), index, async (shard) => {
    if (await exists(join(folder, shard))) return await open(join(folder, shard));
    throw new Deno.errors.NotFound(
      `${index}: shard ${quote(shard)} is missing beside it; fetch it`,
    );
  });
  return tensorReader(all, files.move());
}

/** What a folder without the files that {@link openCheckpoint} reads has instead, and what to do. */
async function lackOf(folder: string): Promise<string> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) names.push(name);
  const other = names.sort().find((name) => OTHER_WEIGHTS.test(name));
  if (other === undefined) {
    const rule = "holds neither model.safetensors nor model.safetensors.index.json";
    return `${rule}; name a checkpoint folder`;
  }
  return `has no model.safetensors; ${
    quote(other)
  } is not read: only model.safetensors, whole or in shards, is; ` +
    "load it in transformers and write it with save_pretrained(FOLDER, safe_serialization=True)";
}

/**
 * Reads the headers of the shards that an index names.
 * @param json the index
 * @param index its name in messages
 * @param read the header of one shard
 * @returns the tensors that the index names
 * @throws SyntaxError if the index is malformed or a shard contradicts it
 */
export async function readShards(
  json: string,
  index: string,
  read: (shard: string) => Promise<Contents>,
): Promise<Contents> {
  const all: Contents = { places: new Map(), metadata: new Map() };
  for (const [shard, names] of parseIndex(json, index)) {
    const { places, metadata } = await read(shard);
    for (const [key, value] of metadata) all.metadata.set(key, value);
    for (const [name] of names) {
      const place = places.get(name);
      if (!place) throw malformed(index, `tensor ${quote(name)} is not in shard ${quote(shard)}`);
      all.places.set(name, place);
    }
  }
  return all;
}

/**
 * Reads a whole small file.
 * @returns every tensor by name
 * @throws SyntaxError if the file is malformed, TypeError for a dtype that is neither float32 nor int32 to us
 */
export async function loadSafetensors(path: string): Promise<Map<string, LoadedTensor>> {
  using source = await fileSource(path);
  const file = await openSafetensors(source);
  const loaded = new Map<string, LoadedTensor>();
  for (const { name, dtype, shape } of file.tensors.values()) {
    const read = /^F|^BF/.test(dtype) ? file.readFloat32 : file.readInt32;
    loaded.set(name, { dtype, shape, data: await read(name) });
  }
  return loaded;
}

/**
 * Writes a file: equal tensors give equal bytes, and `path` holds the old or the new content, never a part.
 * @param metadata strings for `__metadata__`, written in the order of their keys; left out when undefined
 * @throws TypeError if data does not fill its shape, RangeError for a name the format cannot hold
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorData>,
  metadata?: ReadonlyMap<string, string>,
): Promise<void> {
  await writeAtomic(path, safetensorsChunks(tensors, metadata));
}

/**
 * A file's bytes, for a caller that writes them itself; equal tensors give equal bytes.
 * @returns the header, then each tensor's data, uncopied where it is as the file has it
 * @throws TypeError if data does not fill its shape, RangeError for a name the format cannot hold
 */
export function safetensorsChunks(
  tensors: ReadonlyMap<string, TensorData>,
  metadata?: ReadonlyMap<string, string>,
): Iterable<Bytes> {
  const sorted = [...tensors].sort(([nameA, a], [nameB, b]) =>
    DTYPES.indexOf(b.dtype) - DTYPES.indexOf(a.dtype) || compareUtf8(nameA, nameB)
  );
  const header = encodeHeader(sorted, metadata);
  return {
    *[Symbol.iterator]() {
      yield header;
      for (const [, tensor] of sorted) yield tensorBytes(tensor);
    },
  };
}

function tensorReader({ places, metadata }: Contents, files: DisposableStack): Safetensors {
  async function read(name: string): Promise<Bytes> {
    const place = places.get(name);
    if (!place) {
      const known = [...places.keys()].slice(0, 3).map(quote).join(", ");
      throw new RangeError(`no tensor ${quote(name)} among ${places.size}: ${known}, ...`);
    }
    const { source, start, info } = place;
    const bytes = await source.read(start, start + info.byteLength);
    if (bytes.length === info.byteLength) return bytes;
    const rule = `${info.byteLength} bytes were asked for; the source must give all or throw`;
    throw new RangeError(`${source.name}: got ${bytes.length} of tensor ${quote(name)}, ${rule}`);
  }
  async function convert<T>(
    name: string,
    from: (bytes: Bytes, dtype: string, what: string) => T,
  ): Promise<T> {
    const bytes = await read(name);
    const { source, info } = places.get(name)!;
    return from(bytes, info.dtype, `${source.name}: tensor ${quote(name)}`);
  }
  return {
    tensors: new Map([...places].map(([name, { info }]) => [name, info])),
    metadata,
    read,
    readFloat32: (name) => convert(name, bytesToFloat32),
    readInt32: (name) => convert(name, bytesToInt32),
    [Symbol.dispose]: () => files.dispose(),
  };
}

function parseIndex(json: string, file: string): Map<string, [string, string][]> {
  const weightMap = stringEntries(parseObject(json, file).weight_map, "weight_map", file);
  for (const [name, shard] of weightMap) {
    if (/^[^/\\:]+\.safetensors$/.test(shard)) continue;
    const rule = "a shard is the plain name of a .safetensors file, without a path";
    throw malformed(file, `weight_map ${quote(name)} is ${quote(shard)}; ${rule}`);
  }
  return Map.groupBy(weightMap, ([, shard]) => shard);
}

function tensorBytes({ dtype, data }: TensorData): Bytes {
  if (dtype === "I64") return int32ToInt64Bytes(data);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

async function readRange(file: Deno.FsFile, path: string, start: number, end: number) {
  const bytes = new Uint8Array(end - start);
  await file.seek(start, Deno.SeekMode.Start);
  for (let done = 0; done < bytes.length;) {
    const count = await file.read(bytes.subarray(done));
    if (count === null) {
      const rule = "the file was cut short after opening; fetch it again";
      throw new RangeError(`${path}: got ${done} of the bytes ${start} to ${end}; ${rule}`);
    }
    done += count;
  }
  return bytes;
}

function checkRange(source: ByteSource, start: number, end: number): void {
  if (isSize(start) && isSize(end) && start <= end && end <= source.byteLength) return;
  throw new RangeError(
    `${source.name}: range ${start} to ${end} is not within ${source.byteLength} bytes`,
  );
}
