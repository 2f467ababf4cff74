/**
 * A model's tensors on the device, under their checkpoint names.
 *
 * Frozen matrices stay as published (bf16 packed two to a word, widened in the kernels); norms and biases, and
 * everything that is trained, are f32.
 */
import type { Gpu } from "../gpu/device.ts";
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";

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
  /** The raw 16-bit words of a BF16 tensor. */
  readBf16(name: string): Promise<Uint16Array>;
}

/** How to keep the matrices on the device: as stored (bf16 stays bf16) or widened to f32 for full training. */
export type Precision = "stored" | "f32";

/** Tensors that a file has beyond the architecture's and that are no weights: masks, inverse frequencies. */
const BUFFERS = /\.attn\.(masked_)?bias$|rotary_emb\.inv_freq$/;

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
   * @throws {TypeError} listing missing, mis-shaped and unexpected tensors, before anything is uploaded.
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
    const isBf16 = (spec: TensorSpec) =>
      precision === "stored" && source.info(stored.get(spec.name)!)!.dtype === "BF16";
    await beforeUpload?.(specs.map((spec) => bytesOnDevice(spec, isBf16(spec))));
    using memory = new DisposableStack(); // a file may break off
    const weights = memory.use(new Weights(gpu));
    for (const spec of specs) {
      const name = stored.get(spec.name)!;
      const [rows, columns] = spec.shape;
      if (isBf16(spec) && keepsBf16(spec)) {
        weights.add(spec, await source.readBf16(name), spec.shape);
      } else if (spec.conv1d) {
        const data = transpose(await source.readFloat32(name), rows, columns);
        weights.add(spec, data, [columns, rows]);
      } else {
        weights.add(spec, await source.readFloat32(name), spec.shape);
      }
    }
    memory.move();
    return weights;
  }

  /**
   * Room for weights without their numbers: for a plan of memory.
   * @param isBf16 whether a tensor would be kept in bf16
   */
  static reserve(
    gpu: Gpu,
    specs: readonly TensorSpec[],
    isBf16: (name: string) => boolean,
  ): Weights {
    const weights = new Weights(gpu);
    for (const spec of specs) {
      const dtype = keepsBf16(spec) && isBf16(spec.name) ? "bf16" : "f32";
      const shape = spec.conv1d ? spec.shape.toReversed() : spec.shape;
      weights.#tensors.set(spec.name, weights.#scope.empty(shape, dtype, spec.name));
      weights.#specs.set(spec.name, spec);
    }
    return weights;
  }

  /** Uploads one tensor under its name. */
  add(spec: TensorSpec, data: Float32Array | Uint16Array, shape: readonly number[]): Tensor {
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
   * @throws {TypeError} when one is kept in bf16.
   */
  train(names: Iterable<string> = this.#tensors.keys()): Tensor[] {
    return [...names].map((name) => {
      const tensor = this.get(name);
      if (tensor.dtype !== "f32") {
        throw new TypeError(`${tensor} is kept in bf16: load with precision f32 to train it`);
      }
      tensor.gradient ??= this.#scope.zeros(tensor.shape, "f32", `d_${name}`);
      return tensor;
    });
  }

  /** Uploads numbers that are no weight, but live as long as the weights do. */
  keep(data: Float32Array, shape: readonly number[]): Tensor {
    return this.#scope.upload(data, shape);
  }

  /** Replaces a tensor by one of another shape: a grown vocabulary. The old memory is given back. */
  replace(name: string, data: Float32Array | Uint16Array, shape: readonly number[]): Tensor {
    this.#scope.release(this.get(name));
    return this.add({ ...this.#specs.get(name)!, shape }, data, shape);
  }

  /**
   * The numbers as the file has them: f32, Conv1D weights back in [in, out].
   * @throws {TypeError} when the tensor is kept in bf16 or, asked for its gradient, is not trained.
   */
  async read(name: string, which: "value" | "gradient" = "value"): Promise<Float32Array> {
    const tensor = which === "value" ? this.get(name) : this.get(name).gradient;
    if (!tensor) throw new TypeError(`'${name}' has no gradient: it is not trained`);
    const numbers = await this.gpu.read(tensor);
    const [rows, columns] = tensor.shape;
    return this.#specs.get(name)?.conv1d ? transpose(numbers, rows, columns) : numbers;
  }

  /** The shape of a tensor in its file: [in, out] for Conv1D weights. */
  fileShape(name: string): readonly number[] {
    this.get(name);
    return this.#specs.get(name)!.shape;
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

/** Matrices are computed with as stored; what is small or transposed is f32. */
function keepsBf16({ shape, conv1d }: TensorSpec): boolean {
  return shape.length === 2 && conv1d !== true;
}

function bytesOnDevice(spec: TensorSpec, isBf16: boolean): number {
  const size = spec.shape.reduce((a, b) => a * b, 1);
  return size * (isBf16 && keepsBf16(spec) ? 2 : 4);
}

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
    }
    stored.set(name, found);
  }
  const used = new Set([...stored.values(), ...ignored, ...ignored.map((n) => prefix + n)]);
  for (const name of source.names()) {
    if (!used.has(name) && !BUFFERS.test(name)) problems.push(`unexpected ${name}`);
  }
  if (problems.length > 0) {
    const more = problems.length > 8 ? `; and ${problems.length - 8} more` : "";
    throw new TypeError(`${source.name}: ${problems.slice(0, 8).join("; ")}${more}`);
  }
  return stored;
}

/** [rows, columns] to [columns, rows]. */
export function transpose(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c];
  }
  return out;
}
