/**
 * A model's tensors on the device, under their checkpoint names.
 *
 * Frozen matrices stay as published (bf16 and f16 packed two to a word, widened in the kernels); norms and biases, and
 * everything that is trained, are f32.
 */
import type { Gpu } from "../gpu/device.ts";
import type { Scope } from "../gpu/pool.ts";
import {
  bytesPerElement,
  type DType,
  type HalfData,
  isHalf,
  sizeOf,
  type Tensor,
} from "../gpu/tensor.ts";

/** A tensor that an architecture needs. */
export interface TensorSpec {
  /** Name without prefixes that some files add. */
  readonly name: string;
  /** Shape in the file. */
  readonly shape: readonly number[];
  /** Conv1D layout [in, out] in the file: kept transposed, [out, in], on the device. */
  readonly conv1d?: boolean;
}

/** Where weights come from: a checkpoint on disk, or numbers in memory. */
export interface WeightSource {
  /** For messages: the folder. */
  readonly name: string;
  /** Shape and type of a tensor, or undefined when there is none of that name. */
  info(name: string): { readonly shape: readonly number[]; readonly dtype: string } | undefined;
  /** All names. */
  names(): Iterable<string>;
  /** The numbers as float32. */
  readFloat32(name: string): Promise<Float32Array>;
  /** The numbers of a BF16 or F16 tensor as they are stored. */
  readHalf(name: string): Promise<HalfData>;
}

/** How to keep the matrices on the device: as stored (16 bits stay 16) or widened to f32 for full training. */
export type Precision = "stored" | "f32";

/** Numbers of a weight on the host: f32, or of 16 bits as stored. */
export type WeightData = Float32Array | HalfData;

/** Tensors that a file has beyond the architecture's and that are no weights: masks, inverse frequencies. */
const BUFFERS = /\.attn\.(masked_)?bias$|rotary_emb\.inv_freq$/;

/** Types that become f32 or stay as they are. */
const READABLE = ["F32", "F16", "BF16", "F64"];

/** A model's parameters by name; frees them when disposed. */
export class Weights {
  #tensors = new Map<string, Tensor>();
  #specs = new Map<string, TensorSpec>();
  #scope: Scope;

  private constructor(readonly gpu: Gpu) {
    this.#scope = gpu.scope();
  }

  /**
   * Checks a source against an architecture's tensors, then uploads them one at a time.
   * @param prefix added to every name by some files (`transformer.`); tried when the plain name is absent
   * @param ignored names that may be there without being used (the head of a tied model)
   * @throws {TypeError} listing missing, mis-shaped, unexpected and unreadable tensors, before anything is uploaded.
   */
  static async load(
    gpu: Gpu,
    specs: readonly TensorSpec[],
    source: WeightSource,
    { prefix = "", precision = "stored", ignored = [], beforeUpload }: {
      readonly prefix?: string;
      readonly precision?: Precision;
      readonly ignored?: readonly string[];
      /** Given the bytes that each tensor will take; may refuse. */
      readonly beforeUpload?: (byteLengths: readonly number[]) => Promise<void>;
    } = {},
  ): Promise<Weights> {
    const stored = resolveNames(specs, source, prefix, ignored);
    const keptAs = (spec: TensorSpec) =>
      precision === "f32" ? "f32" : typeOnDevice(spec, source.info(stored.get(spec.name)!)!.dtype);
    await beforeUpload?.(
      specs.map((spec) => sizeOf(spec.shape) * bytesPerElement(keptAs(spec))),
    );
    using memory = new DisposableStack(); // a file may break off
    const weights = memory.use(new Weights(gpu));
    for (const spec of specs) {
      const name = stored.get(spec.name)!;
      const data = await (isHalf(keptAs(spec)) ? source.readHalf(name) : source.readFloat32(name));
      const [rows, columns] = spec.shape;
      if (spec.conv1d) weights.add(spec, transpose(data, rows, columns), [columns, rows]);
      else weights.add(spec, data, spec.shape);
    }
    memory.move();
    return weights;
  }

  /**
   * Room for weights without their numbers: for a plan of memory.
   * @param storedAs a tensor's type in the file, `F32`; undefined when there is none of that name
   */
  static reserve(
    gpu: Gpu,
    specs: readonly TensorSpec[],
    storedAs: (name: string) => string | undefined,
    precision: Precision = "stored",
  ): Weights {
    const weights = new Weights(gpu);
    for (const spec of specs) {
      const dtype = precision === "f32" ? "f32" : typeOnDevice(spec, storedAs(spec.name));
      const shape = spec.conv1d ? spec.shape.toReversed() : spec.shape;
      weights.#tensors.set(spec.name, weights.#scope.empty(shape, dtype, spec.name));
      weights.#specs.set(spec.name, spec);
    }
    return weights;
  }

  /** Uploads one tensor under its name. */
  add(spec: TensorSpec, data: WeightData, shape: readonly number[]): Tensor {
    const tensor = this.#scope.upload(data, shape, spec.name);
    this.#tensors.set(spec.name, tensor);
    this.#specs.set(spec.name, spec);
    return tensor;
  }

  /**
   * The tensor of that name.
   * @throws {TypeError} when the model has none.
   */
  get(name: string): Tensor {
    const tensor = this.#tensors.get(name);
    if (!tensor) throw new TypeError(`the model has no tensor '${name}'`);
    return tensor;
  }

  /** The tensor of that name, or undefined: for biases that only some models have. */
  find(name: string): Tensor | undefined {
    return this.#tensors.get(name);
  }

  /** All tensors by name, in the architecture's order. */
  get entries(): ReadonlyMap<string, Tensor> {
    return this.#tensors;
  }

  /**
   * Makes parameters trainable: each gets a gradient of zeros.
   * @param names which; all by default
   * @throws {TypeError} when one is kept in 16 bits.
   */
  train(names: Iterable<string> = this.#tensors.keys()): Tensor[] {
    return [...names].map((name) => {
      const tensor = this.get(name);
      if (tensor.dtype !== "f32") {
        throw new TypeError(
          `${tensor} is kept in ${tensor.dtype}: load with precision f32 to train it`,
        );
      }
      tensor.gradient ??= this.#scope.zeros(tensor.shape, "f32", `d_${name}`);
      return tensor;
    });
  }

  /** Uploads numbers that are no weight, but live as long as the weights do. */
  keep(data: Float32Array, shape: readonly number[]): Tensor {
    return this.#scope.upload(data, shape);
  }

  /**
   * Replaces a tensor by one of another shape or type: a grown vocabulary, a merged adapter. The old memory is given
   * back.
   * @param shape on the device
   */
  replace(name: string, data: WeightData, shape: readonly number[]): Tensor {
    const spec = this.#specs.get(name)!;
    this.#scope.release(this.get(name));
    return this.add({ ...spec, shape: spec.conv1d ? shape.toReversed() : shape }, data, shape);
  }

  /**
   * The numbers as the file has them: f32, Conv1D weights back in [in, out].
   * @throws {TypeError} when the tensor is kept in 16 bits or, asked for its gradient, is not trained.
   */
  async read(name: string, which: "value" | "gradient" = "value"): Promise<Float32Array> {
    const tensor = which === "value" ? this.get(name) : this.get(name).gradient;
    if (!tensor) throw new TypeError(`'${name}' has no gradient: it is not trained`);
    return this.#asInFile(name, await this.gpu.read(tensor), tensor);
  }

  /** The numbers of the type that they are kept in, f32 or 16 bits; Conv1D weights back in [in, out]. */
  async readStored(name: string): Promise<WeightData> {
    const tensor = this.get(name);
    return this.#asInFile(name, await this.gpu.readback(tensor).data() as WeightData, tensor);
  }

  /** The shape of a tensor in its file: [in, out] for Conv1D weights. */
  fileShape(name: string): readonly number[] {
    this.get(name);
    return this.#specs.get(name)!.shape;
  }

  #asInFile<T extends WeightData>(name: string, numbers: T, { shape: [rows, columns] }: Tensor): T {
    return this.#specs.get(name)?.conv1d ? transpose(numbers, rows, columns) : numbers;
  }

  /** Bytes on the device, gradients included. */
  get byteLength(): number {
    let sum = 0;
    for (const t of this.#tensors.values()) sum += t.byteLength * (t.gradient ? 2 : 1);
    return sum;
  }

  [Symbol.dispose](): void {
    this.#scope[Symbol.dispose]();
  }
}

/** Matrices are computed with as stored; what is small, or of a type that no kernel reads, is f32. */
function typeOnDevice({ shape }: TensorSpec, storedAs: string | undefined): DType {
  if (shape.length !== 2) return "f32";
  return storedAs === "BF16" ? "bf16" : storedAs === "F16" ? "f16" : "f32";
}

/**
 * Checks names, shapes and types of a source, of which nothing is read.
 * @returns the name in the file of each tensor that is needed
 */
function resolveNames(
  specs: readonly TensorSpec[],
  source: WeightSource,
  prefix: string,
  ignored: readonly string[],
): Map<string, string> {
  const stored = new Map<string, string>();
  const problems: string[] = [];
  for (const { name, shape } of specs) {
    const found = source.info(name) ? name : prefix + name;
    const info = source.info(found);
    if (!info) problems.push(`missing ${name} [${shape.join(", ")}]`);
    else if (info.shape.join() !== shape.join()) {
      problems.push(
        `${found} is [${info.shape.join(", ")}], config.json asks for [${shape.join(", ")}]`,
      );
    } else if (!READABLE.includes(info.dtype)) {
      problems.push(`${found} is ${info.dtype}, a weight must be one of ${READABLE.join(", ")}`);
    }
    stored.set(name, found);
  }
  const used = new Set([...stored.values(), ...ignored, ...ignored.map((n) => prefix + n)]);
  for (const name of source.names()) {
    if (!used.has(name) && !BUFFERS.test(name)) problems.push(`unexpected ${name}`);
  }
  if (problems.length > 0) {
    const more = problems.length > 8 ? `; and ${problems.length - 8} more` : "";
    throw new TypeError(
      `${source.name}: ${problems.slice(0, 8).join("; ")}${more}; ` +
        "config.json and weights must be of one model that is not quantised: fetch both again or name another",
    );
  }
  return stored;
}

/** [rows, columns] to [columns, rows]. */
export function transpose<T extends WeightData>(data: T, rows: number, columns: number): T {
  const out = data.slice() as T;
  const [from, to] = [wordsOf(data), wordsOf(out)];
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) to[c * rows + r] = from[r * columns + c];
  }
  return out;
}

/** Float16Array converts each number that it gives and takes: its words move faster, and a NaN keeps its bits. */
function wordsOf(data: WeightData): Float32Array | Uint16Array {
  return data instanceof Float16Array
    ? new Uint16Array(data.buffer, data.byteOffset, data.length)
    : data;
}
