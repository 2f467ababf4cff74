/**
 * A device that computes nothing: it gives out memory as a real one does, and counts it.
 *
 * What a step takes depends on shapes alone, so the program itself, run on this device, tells how much memory it needs
 * on a real one, buffer for buffer. Nothing that is read from it means anything.
 */
import type { AdapterInfo, Gpu, Limits, Readback } from "./device.ts";
import type { Kernel } from "./kernel.ts";
import { Pool, Scope } from "./pool.ts";
import type { Allocation, Tensor } from "./tensor.ts";

/** A device for a plan; `gpu.pool.memory` tells what was given out. */
export interface Planning {
  readonly gpu: Gpu;
  /** The most bytes that one buffer was asked for so far. */
  readonly largestBuffer: () => number;
}

/** Counts larger buffers than the adapter gives as well: a plan says by how much they are too large. */
class CountingPool extends Pool {
  largest = 0;

  override take(byteLength: number, what: string, notTouchedBy?: number): Allocation {
    this.largest = Math.max(this.largest, byteLength);
    return super.take(byteLength, what, notTouchedBy);
  }

  protected override refuse(): void {}
}

class PlanningDevice {
  readonly encoderNumber = 0;
  readonly pendingDispatches = 0;
  readonly pool: CountingPool;

  constructor(readonly limits: Limits, readonly info: AdapterInfo, readonly isSoftware: boolean) {
    const create = () => ({ destroy: () => {} }) as GPUBuffer;
    const { maxBufferSize } = limits;
    this.pool = new CountingPool({ create, maxBufferSize, encoderNumber: 0 });
  }

  scope(): Scope {
    return new Scope(this as unknown as Gpu);
  }

  run(_kernel: Kernel, tensors: Readonly<Record<string, Tensor>>): void {
    for (const tensor of Object.values(tensors)) this.#touch(tensor);
  }

  clear(tensor: Tensor): void {
    this.#touch(tensor);
  }

  copy(from: Tensor, to: Tensor): void {
    this.#touch(from);
    this.#touch(to);
  }

  write(): void {}

  submit(): void {}

  readback(): Readback {
    return { data: () => Promise.resolve(new Float32Array()) };
  }

  read(): Promise<Float32Array> {
    return Promise.resolve(new Float32Array());
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  /** An upload takes no buffer that the open encoder has used: as on a real device. */
  #touch(tensor: Tensor): void {
    tensor.assertAlive("plan");
    tensor.allocation.lastEncoder = this.encoderNumber;
  }
}

/**
 * Makes a device for a plan.
 * @param like the device that is planned for: its limits, and which kernels it takes
 */
export function planningDevice(
  like: Pick<Gpu, "limits" | "info" | "isSoftware">,
): Planning {
  const device = new PlanningDevice(like.limits, like.info, like.isSoftware);
  // It has what Gpu's users call; the class itself cannot be made without an adapter.
  return { gpu: device as unknown as Gpu, largestBuffer: () => device.pool.largest };
}
