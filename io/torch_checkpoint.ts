/**
 * Tensors of a torch.save file: a Lightning `.ckpt`, or a plain state dict. Nothing in it is executed (pickle.ts).
 *
 *     NAME/data.pkl   what was saved; a tensor is a storage's key with offset, shape and strides
 *     NAME/data/KEY   a storage's numbers, little-endian
 *     NAME/byteorder  "little"; absent in older files
 *
 * Of objects only what a published checkpoint holds is allowed: tensors, containers and the nodes of OmegaConf, which
 * Lightning keeps as hyper-parameters. Only a tensor that is read leaves the file.
 *
 * Source: torch/serialization.py and torch/_utils.py of PyTorch 2 (names and arguments), omegaconf 2.3 (its nodes).
 */
import { bytesToFloat32, bytesToInt32 } from "./float16.ts";
import { LFS_HEAD, refuseLfsPointer } from "./lfs_pointer.ts";
import { PickleGlobal, PickleObject, readPickle } from "./pickle.ts";
import { fileSource } from "./safetensors.ts";
import { type ByteSource, isSize, malformed, quote } from "./safetensors_header.ts";
import { isZip, openZip, type ZipEntry } from "./zip.ts";

/** A tensor as the file describes it. */
export interface TorchTensorInfo {
  readonly shape: readonly number[];
  /** As safetensors names it: F32, BF16, F16, F64, I64, ... */
  readonly dtype: string;
}

/** An opened file; disposing closes it. */
export interface TorchCheckpoint extends Disposable {
  /** Of the state dict, by name. */
  readonly tensors: ReadonlyMap<string, TorchTensorInfo>;
  /** What Lightning saved beside it, as JSON; what is not JSON is left out. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** Reads F32, F16 and BF16 exactly, F64 rounded. @throws {TypeError} for any other type */
  readFloat32(name: string): Promise<Float32Array<ArrayBuffer>>;
  /** Reads I32, I64, U8 and BOOL. @throws {TypeError} for any other type, {RangeError} outside int32 */
  readInt32(name: string): Promise<Int32Array<ArrayBuffer>>;
}

const MOST_FACTS = 100_000; // values of hyper-parameters that are read

/** Storage classes and what a number of each is; bytes of a number are those of the name's digits. */
const STORAGES: Readonly<Record<string, string>> = {
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  DoubleStorage: "F64",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
};

class Storage {
  constructor(readonly key: string, readonly dtype: string, readonly numElements: number) {}
}

class TorchTensor {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}
}

const mapOf = ([items]: readonly unknown[]) =>
  items instanceof Map
    ? new Map(items)
    : new Map(Array.isArray(items) ? items as [unknown, unknown][] : []);
const rebuild = ([storage, offset, shape, strides]: readonly unknown[]) => {
  const isTensor = storage instanceof Storage && isSize(offset) && isSizes(shape) &&
    isSizes(strides) && shape.length === strides.length;
  if (!isTensor) {
    throw new SyntaxError(
      "a tensor without storage, offset, shape or strides; torn: copy or fetch it again",
    );
  }
  return new TorchTensor(storage, offset, shape, strides);
};
const bytesOf = ([latin1]: readonly unknown[]) =>
  Uint8Array.from(String(latin1), (c) => c.charCodeAt(0));

/** Names that are called, and what we do instead. */
const BUILDS: Readonly<Record<string, (args: readonly unknown[]) => unknown>> = {
  "collections.OrderedDict": mapOf,
  "collections.defaultdict": ([, items]) => mapOf([items]),
  "torch._utils._rebuild_tensor_v2": rebuild,
  "torch._utils._rebuild_parameter": ([tensor]) => tensor,
  "torch.Size": ([sizes]) => sizes ?? [],
  "torch.device": ([name]) => name,
  "_codecs.encode": bytesOf,
  "builtins.set": ([items]) => new Set(Array.isArray(items) ? items : []),
  "__builtin__.set": ([items]) => new Set(Array.isArray(items) ? items : []),
  "pathlib.PosixPath": (parts) => parts.join("/").replace("//", "/"),
  "pathlib.WindowsPath": (parts) => parts.join("\\"),
};

/** Names that are only mentioned, and classes whose objects stay records. */
const RECORDS = [
  ...Object.keys(STORAGES).map((name) => `torch.${name}`),
  ..."float32 float64 float16 bfloat16 int64 int32 uint8 bool".split(" ").map((t) => `torch.${t}`),
  ...["builtins", "__builtin__"].flatMap((module) =>
    "dict list tuple int long float str unicode bytes bool object".split(" ")
      .map((type) => `${module}.${type}`)
  ),
  "typing.Any",
  "argparse.Namespace",
  "omegaconf.dictconfig.DictConfig",
  "omegaconf.listconfig.ListConfig",
  "omegaconf.base.ContainerMetadata",
  "omegaconf.base.Metadata",
  ..."AnyNode IntegerNode FloatNode BooleanNode StringNode".split(" ").map((node) =>
    `omegaconf.nodes.${node}`
  ),
  "lightning_fabric.utilities.data.AttributeDict",
  "lightning.fabric.utilities.data.AttributeDict",
  "pytorch_lightning.utilities.parsing.AttributeDict",
];

const GLOBALS: ReadonlyMap<string, PickleGlobal> = new Map([
  ...Object.entries(BUILDS).map(([name, build]) => [name, new PickleGlobal(name, build)] as const),
  ...RECORDS.map((name) => [name, new PickleGlobal(name)] as const),
]);

/**
 * Opens a file of torch.save and reads what it describes; no tensor's numbers are read.
 * @throws {SyntaxError} when it is torn, names something that is not allowed, or holds no tensors by name; {TypeError} for a
 * pointer of Git LFS.
 */
export async function openTorchCheckpoint(path: string): Promise<TorchCheckpoint> {
  using memory = new DisposableStack();
  const source = memory.use(await fileSource(path));
  const head = await source.read(0, Math.min(LFS_HEAD, source.byteLength));
  refuseLfsPointer(head, path);
  if (!isZip(head)) {
    const rule = "torch.save writes zip files since 1.6: load it there and save it again";
    throw malformed(path, `does not begin as a zip file; ${rule}`);
  }
  const entries = await openZip(source);
  const pickle = [...entries.keys()].find((name) => /(^|\/)data\.pkl$/.test(name));
  if (pickle === undefined) {
    throw malformed(path, "holds no data.pkl; name a file that torch.save wrote");
  }
  const root = pickle.slice(0, -"data.pkl".length);
  await checkByteOrder(entries.get(`${root}byteorder`), path);
  const saved = readTorchPickle(await entries.get(pickle)!.read(), path);
  const tensors = stateDict(saved, path);
  const values = new TensorValues(source, entries, `${root}data/`, tensors);
  const kept = memory.move();
  return {
    tensors: new Map(
      [...tensors].map(([name, { shape, storage }]) =>
        [name, { shape, dtype: storage.dtype }] as const
      ),
    ),
    facts: factsOf(saved),
    readFloat32: (name) => values.read(name, bytesToFloat32),
    readInt32: (name) => values.read(name, bytesToInt32),
    [Symbol.dispose]: () => kept.dispose(),
  };
}

function readTorchPickle(bytes: Uint8Array<ArrayBuffer>, path: string): unknown {
  const persistent = (id: unknown) => {
    const [kind, type, key, , count] = Array.isArray(id) ? id : [];
    const name = type instanceof PickleGlobal ? type.name.replace(/^torch\./, "") : "";
    const dtype = Object.hasOwn(STORAGES, name) ? STORAGES[name] : undefined;
    if (kind === "storage" && dtype && typeof key === "string" && isSize(count)) {
      return new Storage(key, dtype, count);
    }
    throw malformed(path, `a storage of type ${quote(name)} is not supported; save float32`);
  };
  try {
    return readPickle(bytes, path, { globals: GLOBALS, persistent });
  } catch (error) {
    if (error instanceof SyntaxError && !error.message.startsWith(path)) {
      throw malformed(path, error.message);
    }
    throw error;
  }
}

/** The tensors of `state_dict`, or of the file itself where it is a state dict. */
function stateDict(saved: unknown, path: string): ReadonlyMap<string, TorchTensor> {
  const inner = saved instanceof Map ? saved.get("state_dict") ?? saved : undefined;
  const found = inner instanceof Map
    ? [...inner].filter((entry): entry is [string, TorchTensor] =>
      typeof entry[0] === "string" && entry[1] instanceof TorchTensor
    )
    : [];
  if (found.length > 0) return new Map(found);
  throw malformed(path, "holds no tensors by name; name a checkpoint with a state_dict");
}

class TensorValues {
  constructor(
    readonly source: ByteSource,
    readonly entries: ReadonlyMap<string, ZipEntry>,
    readonly prefix: string,
    readonly tensors: ReadonlyMap<string, TorchTensor>,
  ) {}

  async read<T extends Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>>(
    name: string,
    convert: (bytes: Uint8Array<ArrayBuffer>, dtype: string, what: string) => T,
  ): Promise<T> {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new RangeError(`${this.source.name}: no tensor ${quote(name)}`);
    const { storage, offset, shape, strides } = tensor;
    const what = `${this.source.name}: tensor ${quote(name)}`;
    const width = Number(/\d+/.exec(storage.dtype) ?? 8) / 8;
    const entry = this.entries.get(this.prefix + storage.key);
    if (entry?.byteLength !== storage.numElements * width) {
      const rule = `its storage must have ${storage.numElements * width}`;
      throw new SyntaxError(
        `${what} has ${entry?.byteLength ?? "no"} bytes; ${rule}; torn: copy or fetch it again`,
      );
    }
    if (shape.reduce((a, b) => a * b, 1) > storage.numElements) {
      throw new SyntaxError(`${what} repeats its storage; save it contiguous`);
    }
    const isEmpty = shape.includes(0);
    const last = isEmpty ? -1 : shape.reduce((sum, n, i) => sum + (n - 1) * strides[i], 0);
    if (offset + last >= storage.numElements) {
      throw new SyntaxError(`${what} reaches beyond its storage; torn: copy or fetch it again`);
    }
    const bytes = await entry.read(offset * width, (offset + last + 1) * width);
    const numbers = convert(bytes, storage.dtype, what);
    return isDense(shape, strides) ? numbers : gathered(numbers, shape, strides);
  }
}

/** Numbers in row-major order. */
function gathered<T extends Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>>(
  numbers: T,
  shape: readonly number[],
  strides: readonly number[],
): T {
  const size = shape.reduce((a, b) => a * b, 1);
  const out = numbers instanceof Float32Array ? new Float32Array(size) : new Int32Array(size);
  const index = shape.map(() => 0);
  for (let i = 0, at = 0; i < size; i++) {
    out[i] = numbers[at];
    for (let d = shape.length - 1; d >= 0; d--) {
      at += strides[d];
      if (++index[d] < shape[d]) break;
      at -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
  return out as T;
}

function isDense(shape: readonly number[], strides: readonly number[]): boolean {
  let stride = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    if (shape[d] !== 1 && strides[d] !== stride) return false;
    stride *= shape[d];
  }
  return true;
}

async function checkByteOrder(entry: ZipEntry | undefined, path: string): Promise<void> {
  if (!entry) return;
  const order = new TextDecoder().decode(await entry.read());
  if (order !== "little") {
    throw malformed(path, `byte order is ${quote(order)}; save it on a little-endian machine`);
  }
}

/** What was saved beside the tensors, as JSON. */
function factsOf(saved: unknown): Record<string, unknown> {
  if (!(saved instanceof Map) || !saved.has("state_dict")) return {};
  const others = [...saved].filter(([key]) => key !== "state_dict" && typeof key === "string");
  const room = { left: MOST_FACTS };
  return Object.fromEntries(others.flatMap(([key, value]) => {
    const plain = plainOf(value, new Set(), room);
    return plain === undefined ? [] : [[key, plain]];
  }));
}

/**
 * A value as JSON: OmegaConf's nodes as what they hold; undefined for what is none, and for what holds itself.
 * @param room values that may still be made: a few bytes that name each other can stand for 2^50
 */
function plainOf(value: unknown, above: Set<unknown>, room: { left: number }): unknown {
  if (room.left-- <= 0) return undefined;
  if (value === null || ["boolean", "number", "string"].includes(typeof value)) return value;
  if (typeof value !== "object" || above.has(value) || above.size > 50) return undefined;
  const inside = new Set(above).add(value);
  if (Array.isArray(value)) return value.map((item) => plainOf(item, inside, room) ?? null);
  if (value instanceof Map) {
    const pairs = [...value].map(([key, item]) => [String(key), plainOf(item, inside, room)]);
    return Object.fromEntries(pairs.filter(([, item]) => item !== undefined));
  }
  if (!(value instanceof PickleObject)) return undefined;
  if (!/^omegaconf\.(nodes|dictconfig|listconfig)\./.test(value.type.name)) {
    return plainOf(value.items.size > 0 ? value.items : value.state, inside, room);
  }
  const state = value.state instanceof Map ? value.state : new Map();
  return plainOf(state.has("_val") ? state.get("_val") : state.get("_content"), inside, room);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isSize);
}
