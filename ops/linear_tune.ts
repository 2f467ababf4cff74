/**
 * Measures the register tiles of the matrix products once for a device: the best one differs between versions of the
 * software Vulkan driver and between processors (with or without AVX-512).
 */
import { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import { matmulNT, matmulTN } from "./linear_forms.ts";
import {
  chooseLinear,
  type LinearForm,
  type LinearKernels,
  setLinearKernels,
  type Tile,
} from "./linear_kernels.ts";

// From quick to slow to compile. The last is better only where loads are slow: on llvmpipe of Mesa 22 a vec4 costs
// 15 ns with AVX-512 and 210 ns without.
const CANDIDATES: readonly Tile[] = [
  { R: 8, C: 4 },
  { R: 16, C: 4 },
  { R: 32, C: 4 },
  { R: 16, C: 8 },
  { R: 32, C: 8 },
  { R: 64, C: 8 },
];
const MEASURED: readonly LinearForm[] = ["nt", "ntHalf", "tn"];
const SIZE = [128, 384, 384] as const; // M, N, K of the measured product
const ROUNDS = 6;
const COMPILE_MS = 2500; // a driver that takes longer for one tile is not asked for a larger one

interface Timed {
  readonly tile: Tile;
  /** Time of the first call, which compiles. */
  readonly firstMs: number;
  /** Shortest time of the later calls. */
  ms: number;
}

/**
 * Measures the register tiles of every form, a few seconds the first time, and sets the best for this device.
 * @param now a clock in ms; where other work runs beside, the process's CPU time is steadier than the default
 * @returns the choice, plain JSON; on a real GPU the tiled form, unmeasured.
 */
export async function tuneLinear(
  gpu: Gpu,
  now: () => number = () => performance.now(),
): Promise<LinearKernels> {
  if (!gpu.isSoftware) return chooseLinear(gpu);
  const before = chooseLinear(gpu);
  const tiles: Record<string, Tile> = {};
  try {
    for (const form of MEASURED) tiles[form] = await bestTile(gpu, form, now);
  } catch (error) {
    setLinearKernels(gpu, before);
    throw error;
  }
  // NN runs the same body as NT with other addresses, f16 as bf16: measured apart, they choose the same within the noise.
  const choice: LinearKernels = {
    form: "subgroup",
    tiles: { ...tiles, nn: tiles.nt, nnHalf: tiles.ntHalf },
  };
  setLinearKernels(gpu, choice);
  return choice;
}

async function bestTile(gpu: Gpu, form: LinearForm, now: () => number): Promise<Tile> {
  const timed: Timed[] = [];
  for (const tile of CANDIDATES) {
    if (form === "tn" && tile.R !== 32) continue;
    const last = timed.at(-1);
    if (last && last.firstMs > COMPILE_MS) break;
    if (tile.R > 32 && last !== fastest(timed)) break;
    timed.push({ tile, firstMs: await measure(gpu, form, tile, now), ms: Infinity });
    // All again, in turn: other work on the machine then touches all alike.
    for (let round = 0; round < ROUNDS; round++) {
      for (const t of timed) t.ms = Math.min(t.ms, await measure(gpu, form, t.tile, now));
    }
  }
  return fastest(timed).tile;
}

function fastest(timed: readonly Timed[]): Timed {
  return timed.reduce((best, next) => next.ms < best.ms ? next : best);
}

/** Time in ms of one product of this form with this tile. */
async function measure(
  gpu: Gpu,
  form: LinearForm,
  tile: Tile,
  now: () => number,
): Promise<number> {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const [m, n, k] = SIZE;
  setLinearKernels(gpu, { form: "subgroup", tiles: { [form]: tile } });
  const x = scope.zeros([m, k]);
  const y = scope.zeros([m, n]);
  const w = scope.zeros([n, k], form === "ntHalf" ? "bf16" : "f32");
  await gpu.finish();
  const start = now();
  if (form === "tn") matmulTN(g, y, x, w);
  else matmulNT(g, x, w, y);
  const done = gpu.finish(); // the call blocks until the device is done; awaiting it adds a fixed sleep
  const ms = now() - start;
  await done;
  return ms;
}
