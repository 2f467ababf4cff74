/**
 * What a device can do at most: multiply-adds on registers and loads of vectors, to measure every other kernel by.
 *
 * The speed of a machine that is shared changes by the minute, so a kernel's speed says little without these two from
 * the same run. Nothing here takes part in training.
 */
import type { Gpu } from "../gpu/device.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import loadSource from "../kernels/bench_load.wgsl" with { type: "text" };
import multiplyAddSource from "../kernels/bench_multiply_add.wgsl" with { type: "text" };

const multiplyAddKernel = kernel("kernels/bench_multiply_add.wgsl", multiplyAddSource);
const loadKernel = kernel("kernels/bench_load.wgsl", loadSource);

const LANES = 64; // of a workgroup
const MULTIPLY_ADDS = 96; // of a round and lane
const VECTORS = 512; // of a round and workgroup

/**
 * Records multiply-adds on registers.
 * @param out [lanes] f32, a multiple of 64: each lane writes the sum of its 12 chains
 * @param rounds how many times 96 multiply-adds a lane
 * @param factors every chain is a <- a x + y
 * @returns floating-point operations, two a multiply-add
 */
export function multiplyAdds(
  gpu: Gpu,
  out: Tensor,
  rounds: number,
  factors: { readonly x: number; readonly y: number } = { x: 0.5, y: 1 },
): number {
  gpu.run(multiplyAddKernel, { out }, { rounds, ...factors }, out.size / LANES);
  return 2 * MULTIPLY_ADDS * rounds * out.size;
}

/**
 * Records loads of vec4, in order and around again where `data` ends.
 * @param data f32, of 4 times a power of two
 * @param out [lanes] f32, a multiple of 64: each lane writes the sum of what it read
 * @param rounds how many times 8 vectors a lane
 * @returns bytes read
 * @throws {RangeError} when data is not 4 times a power of two long.
 */
export function loads(gpu: Gpu, data: Tensor, out: Tensor, rounds: number): number {
  const mask = data.size / 4 - 1;
  if (!Number.isInteger(Math.log2(mask + 1))) {
    throw new RangeError(`loads: data has ${data.size} numbers, expected 4 times a power of two`);
  }
  const groups = out.size / LANES;
  gpu.run(loadKernel, { data, out }, { rounds, mask }, groups);
  return 16 * VECTORS * rounds * groups;
}
