/**
 * A tensor: a shape over a range of a device buffer. Row-major, dense, no strides.
 *
 * Elements are 4 bytes wide except the half types, `bf16` and `f16`, which are stored as published checkpoints store
 * them, two to a 32-bit word (low half first), and widened to f32 inside the kernels that read them.
 */

/** Element types of 16 bits: bfloat16, and IEEE 754's binary16. */
export type HalfType = "bf16" | "f16";

/** Element types a tensor can have. */
export type DType = "f32" | "u32" | "i32" | HalfType;

/** The numbers of a tensor of a half type on the host: bf16 as its raw 16-bit words. */
export type HalfData = Uint16Array | Float16Array;

/** The numbers of a tensor on the host. */
export type HostData = Float32Array | Uint32Array | Int32Array | HalfData;

/** One device buffer of the pool. `lastEncoder` is the number of the command encoder that last touched it. */
export interface Allocation {
  readonly id: number;
  readonly buffer: GPUBuffer;
  readonly byteLength: number;
  lastEncoder: number;
  /** How often it was given back: tensors of an earlier lease are dead. */
  lease: number;
}

/** Whether a type has 16 bits. */
export function isHalf(dtype: DType): dtype is HalfType {
  return dtype === "bf16" || dtype === "f16";
}

/** Number of bytes of one element: 4, or 2 for the half types. */
export function bytesPerElement(dtype: DType): number {
  return isHalf(dtype) ? 2 : 4;
}

/**
 * Number of elements of a shape.
 * @throws {RangeError} when a size is negative or fractional.
 */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const n of shape) {
    if (!Number.isSafeInteger(n) || n < 0) {
      throw new RangeError(
        `a tensor's sizes must be whole numbers >= 0, got [${shape.join(", ")}]`,
      );
    }
    size *= n;
  }
  return size;
}

/** A dense row-major array on the device. */
export class Tensor {
  /** Gradient of a parameter, of the same shape; undefined for everything that is not trained. */
  gradient: Tensor | undefined;
  /** Number of elements. */
  readonly size: number;
  /** Number of bytes that the elements take. */
  readonly byteLength: number;
  readonly #lease: number;

  constructor(
    /** The buffer that holds the numbers. */
    readonly allocation: Allocation,
    /** Sizes, outermost first. */
    readonly shape: readonly number[],
    /** Element type. */
    readonly dtype: DType,
    /** Where the tensor begins in its buffer, in bytes. */
    readonly byteOffset: number,
    /** Name for error messages: a checkpoint name, or empty. */
    readonly name = "",
  ) {
    this.#lease = allocation.lease;
    this.size = sizeOf(shape);
    this.byteLength = this.size * bytesPerElement(dtype);
  }

  /** Whether its memory is still its own. */
  get isAlive(): boolean {
    return this.#lease === this.allocation.lease;
  }

  /**
   * Refuses a tensor whose memory may hold other numbers by now.
   * @throws {TypeError} when its scope has ended or it was released.
   */
  assertAlive(where: string): void {
    if (this.isAlive) return;
    throw new TypeError(
      `${where}: the memory of ${this} was given back; its scope has ended or it was released`,
    );
  }

  /**
   * The same numbers under another shape of the same size. A parameter's gradient follows; for the tape the view of
   * anything else is a new constant.
   * @throws {TypeError} when the sizes differ.
   */
  reshape(shape: readonly number[]): Tensor {
    this.assertAlive("reshape");
    if (sizeOf(shape) !== this.size) {
      throw new TypeError(`cannot reshape ${this} to [${shape.join(", ")}]: sizes differ`);
    }
    const view = new Tensor(this.allocation, shape, this.dtype, this.byteOffset, this.name);
    view.gradient = this.gradient?.reshape(shape);
    return view;
  }

  /**
   * Rows `begin` to `end` (exclusive) as a tensor over the same memory, without its gradient.
   * @throws {RangeError} when the rows are not there, or cut a word of two halves. The device also asks that the first byte is aligned
   * (`gpu.limits.storageAlignment`): `gpu.run` says so where it is not.
   */
  rows(begin: number, end: number): Tensor {
    const [rows, ...rest] = this.shape;
    if (!(begin >= 0 && begin <= end && end <= rows)) {
      throw new RangeError(`rows ${begin} to ${end} are not in ${this}`);
    }
    this.assertAlive("rows");
    const rowBytes = sizeOf(rest) * bytesPerElement(this.dtype);
    const isEmpty = begin === end;
    if (!isEmpty && (begin * rowBytes % 4 !== 0 || (end < rows && end * rowBytes % 4 !== 0))) {
      throw new RangeError(`rows ${begin} to ${end} of ${this} cut a 32-bit word in two`);
    }
    const byteOffset = this.byteOffset + (isEmpty ? 0 : begin * rowBytes);
    return new Tensor(this.allocation, [end - begin, ...rest], this.dtype, byteOffset, this.name);
  }

  /** For messages: name and shape, `q_proj.weight[64, 128]`. */
  toString(): string {
    const type = this.dtype === "f32" ? "" : ` ${this.dtype}`;
    return `${this.name}[${this.shape.join(", ")}]${type}`;
  }
}
