/**
 * How long work on the device takes, measured so that the numbers of a shared machine can be compared.
 *
 * On software Vulkan the device is this process: time is the process's CPU time divided by the number of cores, so that
 * other programs do not enter, and one call at a time. On a real GPU it is the time from submit until the queue is
 * empty, over many calls. Workloads of one measurement take turns, round by round, with the two references (multiply-add
 * ceiling, load loop) among them; the shortest round counts.
 */
import process from "node:process";
import type { Gpu } from "../gpu/device.ts";
import type { Scope } from "../gpu/pool.ts";
import type { KernelTime } from "../gpu/profile.ts";
import { loads, multiplyAdds } from "../ops/ceiling.ts";

/** Something to be timed. */
export interface Workload {
  readonly name: string;
  /** Floating-point operations of one run. */
  readonly flops?: number;
  /** Bytes that one run has to read and write. */
  readonly bytes?: number;
  /** Whether recording is part of the time: a whole step rather than a kernel. @default {false} */
  readonly whole?: boolean;
  /** Most runs in one round, where each needs memory of its own. @default {64} */
  readonly maxRepeats?: number;
  /** Records what comes before, which is not timed; returns what records the timed part. */
  prepare(scope: Scope): () => void;
}

/** A workload's times, of one run. */
export interface Timing {
  readonly name: string;
  /** Shortest round, in ms. */
  readonly ms: number;
  readonly medianMs: number;
  readonly rounds: number;
  /** Runs in one round. */
  readonly repeats: number;
  /** At the shortest round, where the workload says its flops. */
  readonly gflops?: number;
  /** At the shortest round, where the workload says its bytes. */
  readonly gigabytes?: number;
}

/** How a measurement runs. */
export interface MeasureOptions {
  /** @default {5} */
  readonly rounds?: number;
  /** Shortest round that is trusted: quick workloads run several times in one. @default {3, 20 on a real GPU} */
  readonly roundMs?: number;
  /** Wall time after which no further round begins; one always runs. @default {Infinity} */
  readonly budgetMs?: number;
}

const MAX_REPEATS = 64;

/** Number of cores that times on software Vulkan are divided by. */
export const numCores = navigator.hardwareConcurrency;

/** Starts a clock; the function it returns gives the ms since then: CPU ms / cores on software Vulkan, else wall time. */
export function startClock(gpu: Gpu): () => number {
  if (!gpu.isSoftware) {
    const start = performance.now();
    return () => performance.now() - start;
  }
  const start = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000 / numCores;
  };
}

/**
 * Times workloads in turns.
 * @returns one timing for each, in order
 */
export async function measure(
  gpu: Gpu,
  workloads: readonly Workload[],
  { rounds = 5, roundMs = gpu.isSoftware ? 3 : 20, budgetMs = Infinity }: MeasureOptions = {},
): Promise<Timing[]> {
  const start = performance.now();
  const repeats: number[] = [];
  for (const workload of workloads) {
    let ms = await timeRound(gpu, workload, 1); // compiles
    if (ms < 50 * roundMs) ms = await timeRound(gpu, workload, 1);
    const most = workload.maxRepeats ?? MAX_REPEATS;
    repeats.push(Math.min(most, Math.max(1, Math.ceil(roundMs / ms))));
  }
  const times: number[][] = workloads.map(() => []);
  for (let round = 0; round < rounds; round++) {
    if (round > 0 && performance.now() - start > budgetMs) break;
    for (let i = 0; i < workloads.length; i++) {
      times[i].push(await timeRound(gpu, workloads[i], repeats[i]));
    }
  }
  return workloads.map(({ name, flops, bytes }, i) => {
    const sorted = times[i].toSorted((a, b) => a - b);
    const ms = sorted[0];
    return {
      name,
      ms,
      medianMs: sorted[sorted.length >> 1],
      rounds: sorted.length,
      repeats: repeats[i],
      ...(flops === undefined ? {} : { gflops: flops / ms / 1e6 }),
      ...(bytes === undefined ? {} : { gigabytes: bytes / ms / 1e6 }),
    };
  });
}

async function timeRound(gpu: Gpu, workload: Workload, repeats: number): Promise<number> {
  using scope = gpu.scope();
  const runs = Array.from({ length: repeats }, () => workload.prepare(scope));
  await gpu.finish();
  if (!workload.whole) { for (const run of runs) run(); }
  const elapsed = startClock(gpu);
  if (workload.whole) {
    for (const run of runs) {
      run();
      gpu.submit();
    }
  }
  const done = gpu.finish(); // the call blocks until the device is done; awaiting it adds a fixed sleep
  const ms = elapsed() / repeats;
  await done;
  return ms;
}

/**
 * The two references: the multiply-add ceiling and the load loop, which reads 8 KiB again and again on software Vulkan
 * (there a load instruction is what costs) and 128 MiB once on a real GPU.
 * @param scope lifetime of their arrays
 */
export function references(gpu: Gpu, scope: Scope): [Workload, Workload] {
  return [ceiling(gpu, scope), loadLoop(gpu, scope, gpu.isSoftware ? 8 << 10 : 128 << 20)];
}

function ceiling(gpu: Gpu, scope: Scope): Workload {
  const out = scope.zeros([gpu.isSoftware ? 1 << 14 : 1 << 18]);
  const rounds = gpu.isSoftware ? 256 : 2048;
  const run = () => multiplyAdds(gpu, out, rounds);
  return { name: "multiply-add ceiling", flops: run(), prepare: () => run };
}

/**
 * A load loop over an array.
 * @param byteLength of the array: a power of two, at least 16
 */
export function loadLoop(gpu: Gpu, scope: Scope, byteLength: number): Workload {
  const data = scope.zeros([byteLength / 4]);
  const total = Math.max(byteLength, gpu.isSoftware ? 8 << 20 : 128 << 20);
  const rounds = 16;
  const out = scope.zeros([64 * total / (rounds << 13)]);
  const run = () => loads(gpu, data, out, rounds);
  const size = byteLength < 1 << 20 ? `${byteLength >> 10} KiB` : `${byteLength >> 20} MiB`;
  return { name: `load loop, ${size}`, bytes: run(), prepare: () => run };
}

/** Where the time of a step goes. */
export interface StepProfile {
  /** Times by kernel, summed over the steps, longest first. */
  readonly kernels: readonly KernelTime[];
  /** Sum of the kernels' times over the wall time of the same steps, recording included. */
  readonly busy: number;
  /** Dispatches of one step. */
  readonly numDispatches: number;
  /** Time of one step by {@link startClock}: a little more than without timestamps. */
  readonly ms: number;
}

/**
 * Runs a step with a timestamp around every dispatch.
 * @param step records one step in the scope it gets
 * @returns undefined where the adapter has no timestamps
 */
export async function profileSteps(
  gpu: Gpu,
  step: (scope: Scope) => void,
  count = 3,
): Promise<StepProfile | undefined> {
  if (!gpu.info.features.includes("timestamp-query")) return undefined;
  await gpu.finish();
  gpu.profile.start();
  let wallMs = 0;
  let clockMs = 0;
  for (let i = 0; i < count; i++) {
    using scope = gpu.scope();
    const start = performance.now();
    const elapsed = startClock(gpu);
    step(scope);
    const done = gpu.finish();
    clockMs += elapsed();
    wallMs += performance.now() - start;
    await done;
  }
  const kernels = await gpu.profile.stop();
  const calls = kernels.reduce((sum, k) => sum + k.calls, 0);
  const ms = kernels.reduce((sum, k) => sum + k.ms, 0);
  return { kernels, busy: ms / wallMs, numDispatches: calls / count, ms: clockMs / count };
}
