/**
 * Device memory: buffers by size class, taken by scopes and given back when the scope ends.
 *
 * A buffer may be reused while earlier commands that read it are still queued: the queue keeps the order. The one
 * trap is `writeBuffer`, which runs before everything in the encoder that is still being recorded; `take` therefore
 * can be asked for a buffer that the open encoder has not touched.
 *
 * Batches of other lengths have buffers of other classes. Those that went unused for longest are destroyed once the pool
 * holds a quarter and SPARE_BYTES more than was ever in use at once.
 */
import {
  type Allocation,
  bytesPerElement,
  type DType,
  type HostData,
  sizeOf,
  Tensor,
} from "./tensor.ts";

/** Where the pool gets its buffers and what it must not exceed. */
export interface BufferSource {
  /** Creates a storage buffer of `byteLength` bytes, or throws. */
  create(byteLength: number): GPUBuffer;
  /** Largest buffer that the adapter gives, in bytes. */
  readonly maxBufferSize: number;
  /** Number of the command encoder that is being recorded. */
  readonly encoderNumber: number;
}

/** Bytes in the pool: all buffers, those in use, and the most ever in use. */
export interface MemoryUse {
  readonly allocated: number;
  readonly inUse: number;
  readonly peak: number;
}

const BOUND_STEP = 16; // bytes: what is bound is a multiple, for kernels that read four numbers at once

/**
 * The smallest size class >= byteLength: eight steps an octave, so at most an eighth is lost. The last class below a limit
 * is as large as the limit lets it be, since what fits is not to be refused for its class.
 * @param maxBufferSize largest buffer of the adapter; what does not fit it gets a class that does not either
 */
export function sizeClass(byteLength: number, maxBufferSize = Infinity): number {
  if (byteLength <= 256) return 256;
  const step = 2 ** Math.max(5, Math.floor(Math.log2(byteLength - 1)) - 3);
  const rounded = Math.ceil(byteLength / step) * step;
  const largest = Math.floor(maxBufferSize / BOUND_STEP) * BOUND_STEP;
  return byteLength <= largest && largest < rounded ? largest : rounded;
}

const SPARE_BYTES = 256 << 20;

/** Buffers by size class, last given back first taken (its bytes are likeliest in a cache). */
export class Pool {
  #free = new Map<number, Allocation[]>();
  #nextId = 0;
  #allocated = 0;
  #inUse = 0;
  #peak = 0;

  constructor(readonly source: BufferSource) {}

  /**
   * A buffer of at least `byteLength` bytes with undefined contents.
   * @param notTouchedBy the open encoder's number: take only a buffer that it has not touched
   * @throws {RangeError} when the adapter gives no buffer of that size.
   */
  take(byteLength: number, what: string, notTouchedBy?: number): Allocation {
    const { maxBufferSize } = this.source;
    const wanted = sizeClass(byteLength, maxBufferSize);
    if (wanted > maxBufferSize) this.refuse(byteLength, what);
    const free = this.#free.get(wanted) ?? [];
    let at = free.length - 1;
    while (at >= 0 && free[at].lastEncoder === notTouchedBy) at--;
    if (at < 0) this.#makeRoom(wanted);
    const allocation = at >= 0 ? free.splice(at, 1)[0] : this.#create(wanted);
    this.#inUse += wanted;
    this.#peak = Math.max(this.#peak, this.#inUse);
    return allocation;
  }

  /** Refuses a buffer that the adapter does not give. */
  protected refuse(byteLength: number, what: string): void {
    throw new RangeError(
      `${what} needs ${byteLength} bytes but this adapter's largest buffer is ` +
        `${this.source.maxBufferSize} bytes: use a smaller batch, shorter rows or a smaller model`,
    );
  }

  /** Gives a buffer back. */
  give(allocation: Allocation): void {
    const free = this.#free.get(allocation.byteLength);
    if (free) free.push(allocation);
    else this.#free.set(allocation.byteLength, [allocation]);
    allocation.lease++;
    this.#inUse -= allocation.byteLength;
  }

  /** Destroys every buffer that neither a scope nor the open encoder uses; the next calls create anew. */
  trim(): void {
    for (const allocation of this.#unused()) this.#destroy(allocation);
  }

  /** Bytes now and at the peak. */
  get memory(): MemoryUse {
    return { allocated: this.#allocated, inUse: this.#inUse, peak: this.#peak };
  }

  /** Starts a new measurement of the peak. */
  resetPeak(): void {
    this.#peak = this.#inUse;
  }

  /** Free buffers that the open encoder has not touched, those unused for longest first. */
  #unused(): Allocation[] {
    const { encoderNumber } = this.source;
    return [...this.#free.values()].flat()
      .filter(({ lastEncoder }) => lastEncoder !== encoderNumber)
      .sort((a, b) => a.lastEncoder - b.lastEncoder);
  }

  #makeRoom(byteLength: number): void {
    const most = 1.25 * Math.max(this.#peak, this.#inUse + byteLength) + SPARE_BYTES;
    if (this.#allocated + byteLength <= most) return;
    for (const allocation of this.#unused()) {
      if (this.#allocated + byteLength <= most) return;
      this.#destroy(allocation);
    }
  }

  #destroy(allocation: Allocation): void {
    const free = this.#free.get(allocation.byteLength)!;
    free.splice(free.indexOf(allocation), 1);
    allocation.buffer.destroy();
    this.#allocated -= allocation.byteLength;
  }

  #create(byteLength: number): Allocation {
    const buffer = this.source.create(byteLength);
    this.#allocated += byteLength;
    return { id: this.#nextId++, buffer, byteLength, lastEncoder: -1, lease: 0 };
  }
}

function dtypeOf(data: HostData): DType {
  if (data instanceof Float32Array) return "f32";
  if (data instanceof Uint32Array) return "u32";
  if (data instanceof Int32Array) return "i32";
  return data instanceof Float16Array ? "f16" : "bf16";
}

/** What a scope asks of the device. */
export interface ScopeDevice {
  readonly pool: Pool;
  readonly encoderNumber: number;
  clear(tensor: Tensor): void;
  write(tensor: Tensor, data: ArrayBufferView): void;
}

/**
 * A lexical lifetime: everything made in it is given back when it ends.
 *
 * ```ts
 * using step = gpu.scope();
 * const x = step.upload(new Float32Array(6), [2, 3]);
 * ```
 */
export class Scope {
  #taken = new Set<Allocation>();
  #closed = false;

  constructor(readonly device: ScopeDevice) {}

  /** A tensor with undefined contents. */
  empty(shape: readonly number[], dtype: DType = "f32", name = ""): Tensor {
    return this.#tensor(shape, dtype, name);
  }

  /** A tensor of zeros. */
  zeros(shape: readonly number[], dtype: DType = "f32", name = ""): Tensor {
    const tensor = this.#tensor(shape, dtype, name);
    this.device.clear(tensor);
    return tensor;
  }

  /**
   * A tensor with the host's numbers; dtype follows the array (Float32Array f32, Uint32Array u32, Int32Array i32,
   * Uint16Array bf16, Float16Array f16).
   * @throws {TypeError} when the array's length is not the shape's size.
   */
  upload(
    data: HostData,
    shape: readonly number[] = [data.length],
    name = "",
  ): Tensor {
    const dtype = dtypeOf(data);
    if (data.length !== sizeOf(shape)) {
      throw new TypeError(
        `upload: ${data.length} numbers do not fill ${name}[${shape.join(", ")}]`,
      );
    }
    const tensor = this.#tensor(shape, dtype, name, this.device.encoderNumber);
    this.device.write(tensor, data);
    return tensor;
  }

  /** Gives one tensor's memory back before the scope ends; the tensor must not be used any more. */
  release(tensor: Tensor): void {
    if (this.#taken.delete(tensor.allocation)) this.device.pool.give(tensor.allocation);
  }

  /** Hands one tensor's memory to another scope: it lives until that one ends. */
  move(tensor: Tensor, to: Scope): void {
    if (this.#taken.delete(tensor.allocation)) to.#taken.add(tensor.allocation);
  }

  /** Whether the tensor's memory belongs to this scope. */
  owns(tensor: Tensor): boolean {
    return this.#taken.has(tensor.allocation);
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    // The last taken first: the next scope of the same work gets the same buffers, and their bind groups are cached.
    for (const allocation of [...this.#taken].reverse()) this.device.pool.give(allocation);
    this.#taken.clear();
  }

  #tensor(shape: readonly number[], dtype: DType, name: string, notTouchedBy?: number): Tensor {
    if (this.#closed) throw new TypeError(`${name}[${shape.join(", ")}]: its scope has ended`);
    const byteLength = sizeOf(shape) * bytesPerElement(dtype);
    const what = `tensor ${name}[${shape.join(", ")}]`;
    const allocation = this.device.pool.take(Math.max(16, byteLength), what, notTouchedBy);
    this.#taken.add(allocation);
    return new Tensor(allocation, shape, dtype, 0, name);
  }
}
