/**
 * The device: adapter, features and limits; kernels run by name; one open command encoder; reads.
 *
 * Commands are recorded into one encoder until `submit()` or a read. An awaited read costs at least 10 ms on Deno's
 * WebGPU, so a step reads late and together: see `readback`.
 * Errors that the driver reports later (lost device, out of memory, validation) are kept and thrown by the next
 * `run`, `submit` or read, with the kernel's path and the tensors' shapes: no number is returned after one.
 */
import { type AdapterInfo, type Limits, openDevice } from "./adapter.ts";
import { checkTensors, type Constants, type Kernel, packParams, shaderError } from "./kernel.ts";
import { Pipelines } from "./pipelines.ts";
import { Pool, Scope } from "./pool.ts";
import { Profile } from "./profile.ts";
import { type HostData, Tensor } from "./tensor.ts";

export type { AdapterInfo, Limits } from "./adapter.ts";

/** A call's workgroups: a count (split over two dimensions where it exceeds one), or [x, y, z]. */
export type Workgroups = number | readonly [number, number, number];

const MAX_DISPATCHES = 4096; // of one submit: the size of the parameter buffer

/** A read that has been recorded; `data()` submits if needed, waits and returns the numbers. */
export interface Readback {
  data(): Promise<HostData>;
}

/** A WebGPU device and everything cached for it. */
export class Gpu {
  readonly pool: Pool;
  readonly info: AdapterInfo;
  readonly limits: Limits;
  /** Times by kernel while a profile runs. */
  readonly profile: Profile;
  #device: GPUDevice;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #encoderNumber = 0;
  #dispatches = 0;
  #failure: Error | undefined;
  #params: GPUBuffer;
  #paramWords: Uint32Array<ArrayBuffer>;
  #paramStride: number;
  #pipelines: Pipelines;
  #staging: GPUBuffer[] = [];

  private constructor(device: GPUDevice, info: AdapterInfo) {
    this.#device = device;
    this.info = info;
    const l = device.limits;
    this.limits = {
      maxBufferSize: l.maxBufferSize,
      maxBinding: l.maxStorageBufferBindingSize,
      storageAlignment: l.minStorageBufferOffsetAlignment,
      uniformAlignment: l.minUniformBufferOffsetAlignment,
      maxWorkgroups: l.maxComputeWorkgroupsPerDimension,
    };
    this.#paramStride = Math.max(128, this.limits.uniformAlignment);
    this.#paramWords = new Uint32Array(MAX_DISPATCHES * this.#paramStride / 4);
    this.#params = device.createBuffer({
      label: "params",
      size: this.#paramWords.byteLength,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    this.#pipelines = new Pipelines(
      device,
      this.limits,
      this.#params,
      (kernel, what) => this.#keepError(kernel, what),
    );
    const encoderNumber = () => this.#encoderNumber;
    this.pool = new Pool({
      maxBufferSize: l.maxBufferSize,
      create: (byteLength) => this.#createBuffer(byteLength),
      get encoderNumber() {
        return encoderNumber();
      },
    });
    this.profile = new Profile(device);
    device.lost.then(({ reason, message }) => {
      this.#fail(
        `GPU: the device was lost (${reason || "unknown"}): ${message}; start the run again`,
      );
    });
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#fail(`GPU: ${oneLine((event as GPUUncapturedErrorEvent).error.message)}`);
    });
  }

  /**
   * Opens the default adapter with all the limits it has, subgroups and timestamps where it has them.
   * @throws {Error} when there is no adapter.
   */
  static async open(): Promise<Gpu> {
    const { device, info } = await openDevice();
    return new Gpu(device, info);
  }

  /** Whether kernels with subgroup operations of 8 lanes are the right choice: software Vulkan. */
  get isSoftware(): boolean {
    return /llvmpipe/i.test(this.info.description || this.info.device) &&
      this.info.subgroupSize === 8;
  }

  /** Number of the command encoder that is being recorded. */
  get encoderNumber(): number {
    return this.#encoderNumber;
  }

  /** Number of dispatches recorded since the last submit. */
  get pendingDispatches(): number {
    return this.#dispatches;
  }

  /** A lifetime for tensors: `using step = gpu.scope()`. */
  scope(): Scope {
    return new Scope(this);
  }

  /**
   * Records one dispatch.
   * @param tensors a tensor for every array that the kernel declares, by name
   * @param params a number for every field of its `Params`
   * @param workgroups how many; a zero anywhere records nothing
   * @param constants values for its `override` and `const` declarations
   * @throws {TypeError} for a missing or unknown name or a wrong element type, {RangeError} for a number or size
   * out of range, {Error} for what the driver reported earlier.
   */
  run(
    kernel: Kernel,
    tensors: Readonly<Record<string, Tensor>>,
    params: Readonly<Record<string, number>>,
    workgroups: Workgroups,
    constants: Constants = {},
  ): void {
    this.#throwIfFailed();
    const [x, y, z] = this.#grid(kernel, workgroups);
    const words = packParams(kernel, params);
    checkTensors(kernel, tensors);
    if (x === 0 || y === 0 || z === 0) return;
    const pipeline = this.#pipelines.pipeline(kernel, constants);
    const group = this.#pipelines.bindGroup(kernel, pipeline, tensors);
    if (this.#dispatches === MAX_DISPATCHES || this.profile.full) this.submit();
    const offset = this.#dispatches++ * this.#paramStride;
    this.#paramWords.set(words, offset / 4);
    for (const name in tensors) tensors[name].allocation.lastEncoder = this.#encoderNumber;
    if (this.profile.running) this.#endPass();
    const pass = this.#openPass(kernel.path);
    pass.setPipeline(pipeline.pipeline);
    pass.setBindGroup(0, group, kernel.params.length > 0 ? [offset] : []);
    pass.dispatchWorkgroups(x, y, z);
    if (this.profile.running) this.#endPass();
  }

  /** Records that a tensor's bytes become zero. */
  clear(tensor: Tensor): void {
    this.#touch(tensor, "clear");
    if (tensor.size === 0) return;
    const length = Math.ceil(tensor.byteLength / 4) * 4;
    this.#openEncoder().clearBuffer(tensor.allocation.buffer, tensor.byteOffset, length);
  }

  /**
   * Records a copy of all numbers of `from` to `to`.
   * @throws {TypeError} when their byte lengths differ, or both are in one buffer.
   */
  copy(from: Tensor, to: Tensor): void {
    if (from.byteLength !== to.byteLength) {
      throw new TypeError(`copy: ${from} and ${to} differ in size`);
    }
    this.#touch(from, "copy");
    this.#touch(to, "copy");
    if (from.size === 0) return;
    const [a, b] = [from.allocation.buffer, to.allocation.buffer];
    if (a === b) {
      throw new TypeError(`copy: ${from} and ${to} share a buffer; copy through another tensor`);
    }
    const length = Math.ceil(from.byteLength / 4) * 4;
    this.#openEncoder().copyBufferToBuffer(a, from.byteOffset, b, to.byteOffset, length);
  }

  /**
   * Writes host numbers to a tensor, in order with everything recorded before.
   * @throws {TypeError} when the byte lengths differ.
   */
  write(tensor: Tensor, data: ArrayBufferView): void {
    this.#throwIfFailed();
    if (data.byteLength !== tensor.byteLength) {
      throw new TypeError(`write: ${data.byteLength} bytes do not fill ${tensor}`);
    }
    tensor.assertAlive("write");
    if (data.byteLength === 0) return;
    // writeBuffer would run before what the open encoder already does with this buffer.
    if (tensor.allocation.lastEncoder === this.#encoderNumber) this.submit();
    const whole = data.byteLength % 4 === 0;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const padded = whole ? bytes : new Uint8Array(Math.ceil(data.byteLength / 4) * 4);
    if (!whole) padded.set(bytes);
    const view = padded as Uint8Array<ArrayBuffer>;
    this.#device.queue.writeBuffer(tensor.allocation.buffer, tensor.byteOffset, view);
  }

  /** Submits what is recorded. Nothing is awaited. */
  submit(): void {
    this.#throwIfFailed();
    if (!this.#encoder) return;
    this.#endPass();
    const used = this.#dispatches * this.#paramStride / 4;
    if (used > 0) this.#device.queue.writeBuffer(this.#params, 0, this.#paramWords, 0, used);
    this.profile.resolve(this.#encoder);
    const commands = this.#encoder.finish();
    this.#encoder = undefined;
    this.#dispatches = 0;
    this.#encoderNumber++;
    this.#device.queue.submit([commands]);
    this.profile.submitted();
  }

  /** Submits and waits until the device has done everything. */
  async finish(): Promise<void> {
    this.submit();
    await this.#device.queue.onSubmittedWorkDone();
    this.#throwIfFailed();
  }

  /** Records a copy of the tensor as it is now, to be awaited later: one step behind costs nothing. */
  readback(tensor: Tensor): Readback {
    const length = Math.ceil(tensor.byteLength / 4) * 4;
    const empty = hostArray(tensor, new ArrayBuffer(0));
    this.#throwIfFailed();
    this.#touch(tensor, "read");
    if (length === 0) return { data: () => Promise.resolve(empty) };
    const staging = this.#takeStaging(length);
    const { buffer } = tensor.allocation;
    this.#openEncoder().copyBufferToBuffer(buffer, tensor.byteOffset, staging, 0, length);
    const encoder = this.#encoderNumber;
    let numbers: Promise<HostData> | undefined; // the staging buffer may serve another read after the first
    return {
      data: async () => {
        if (encoder === this.#encoderNumber) this.submit();
        return await (numbers ??= this.#take(staging, tensor, length));
      },
    };
  }

  /** The numbers of one f32 tensor. */
  async read(tensor: Tensor): Promise<Float32Array> {
    if (tensor.dtype !== "f32") throw new TypeError(`read: ${tensor} is not f32; use readback`);
    return await this.readback(tensor).data() as Float32Array;
  }

  /** Gives the device up; everything that was made with it is unusable from here on. */
  destroy(): void {
    this.#fail("GPU: the device was given up by destroy(); open another one");
    this.#device.destroy();
  }

  [Symbol.dispose](): void {
    this.destroy();
  }

  #fail(message: string): void {
    this.#failure ??= new Error(message);
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure;
  }

  #touch(tensor: Tensor, what: string): void {
    tensor.assertAlive(what);
    tensor.allocation.lastEncoder = this.#encoderNumber;
  }

  #openEncoder(): GPUCommandEncoder {
    this.#throwIfFailed();
    this.#endPass();
    return this.#encoder ??= this.#device.createCommandEncoder();
  }

  #openPass(path: string): GPUComputePassEncoder {
    this.#encoder ??= this.#device.createCommandEncoder();
    return this.#pass ??= this.#encoder.beginComputePass({
      label: path,
      timestampWrites: this.profile.timestamps(path),
    });
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  #grid(kernel: Kernel, workgroups: Workgroups): readonly [number, number, number] {
    const max = this.limits.maxWorkgroups;
    const most = typeof workgroups === "number" ? max * max : max;
    const wrong = [workgroups].flat().find((n) => !(Number.isInteger(n) && n >= 0 && n <= most));
    if (wrong !== undefined) {
      throw new RangeError(
        `${kernel.path}: workgroups must be whole numbers from 0 to ${most}, got ${wrong}`,
      );
    }
    if (typeof workgroups !== "number") return workgroups;
    if (workgroups <= max) return [workgroups, 1, 1];
    const y = Math.ceil(workgroups / max);
    return [Math.ceil(workgroups / y), y, 1];
  }

  #createBuffer(byteLength: number): GPUBuffer {
    this.#throwIfFailed();
    this.#device.pushErrorScope("out-of-memory");
    const buffer = this.#device.createBuffer({
      size: byteLength,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    this.#device.popErrorScope().then((error) => {
      if (!error) return;
      const { inUse } = this.pool.memory;
      this.#fail(
        `GPU: out of memory for ${byteLength} bytes with ${inUse} bytes in use: ` +
          "use a smaller batch, shorter rows or checkpointing",
      );
    }, () => {});
    return buffer;
  }

  #keepError({ path }: Kernel, what: string): void {
    this.#device.popErrorScope().then((error) => {
      if (!error) return;
      this.#fail(shaderError(path, error.message) ?? `${path} ${what}: ${oneLine(error.message)}`);
    }, () => {});
  }

  async #take(staging: GPUBuffer, tensor: Tensor, length: number): Promise<HostData> {
    try {
      await staging.mapAsync(GPUMapMode.READ, 0, length);
    } catch (error) {
      await new Promise((resolve) => setTimeout(resolve, 0)); // the loss of the device may be told a moment later
      this.#throwIfFailed();
      throw new Error(`GPU: cannot read ${tensor}: ${oneLine((error as Error).message)}`);
    }
    this.#throwIfFailed();
    const copy = staging.getMappedRange(0, length).slice(0, tensor.byteLength);
    staging.unmap();
    this.#staging.push(staging);
    return hostArray(tensor, copy);
  }

  #takeStaging(length: number): GPUBuffer {
    const at = this.#staging.findIndex((b) => b.size >= length && b.size <= 4 * length + 4096);
    if (at >= 0) return this.#staging.splice(at, 1)[0];
    if (this.#staging.length > 16) this.#staging.shift()?.destroy();
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    return this.#device.createBuffer({ label: "staging", size: length, usage });
  }
}

function hostArray(tensor: Tensor, bytes: ArrayBuffer): HostData {
  switch (tensor.dtype) {
    case "f32":
      return new Float32Array(bytes);
    case "u32":
      return new Uint32Array(bytes);
    case "i32":
      return new Int32Array(bytes);
    case "bf16":
      return new Uint16Array(bytes);
    case "f16":
      return new Float16Array(bytes);
  }
}

function oneLine(message: string): string {
  return message.trim().replace(/\s*\n\s*/g, " ");
}
