/**
 * Measures the register tiles of the matrix products once for a device: the best one differs between versions of the
 * software Vulkan driver and between processors (with or without AVX-512).
 */
import { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import { matmulNN, matmulNT, matmulTN } from "./linear_forms.ts";
import {
  chooseLinear,
  type LinearForm,
  type LinearKernels,
  setLinearKernels,
  type Tile,
} from "./linear_kernels.ts";

const CANDIDATES: readonly Tile[] = [{ R: 32, C: 8 }, { R: 16, C: 8 }, { R: 32, C: 4 }];
// Better only where loads are slow (Mesa 22 without AVX-512: 210 instead of 15 ns each), and slow to compile.
const LARGE: Tile = { R: 64, C: 8 };
const FORMS: readonly LinearForm[] = ["nt", "ntBf16", "nn", "nnBf16", "tn"];
const SIZE = [128, 384, 384] as const; // M, N, K of the measured product
const ROUNDS = 3;

/**
 * Measures every tile of every form, a few seconds the first time, and sets the best for this device.
 * @returns the choice, plain JSON; on a real GPU the tiled form, unmeasured.
 */
export async function tuneLinear(gpu: Gpu): Promise<LinearKernels> {
  if (!gpu.isSoftware) return chooseLinear(gpu);
  const tiles: Record<string, Tile> = {};
  for (const form of FORMS) {
    const timed: { tile: Tile; ms: number }[] = [];
    const time = async (tile: Tile) => {
      setLinearKernels(gpu, { form: "subgroup", tiles: { [form]: tile } });
      timed.push({ tile, ms: await measure(gpu, form) });
    };
    for (const tile of CANDIDATES.filter(({ R }) => form !== "tn" || R === 32)) await time(tile);
    const [first, ...smaller] = timed;
    if (smaller.every(({ ms }) => ms > 1.15 * first.ms)) await time(LARGE);
    tiles[form] = timed.reduce((best, next) => next.ms < best.ms ? next : best).tile;
  }
  const choice: LinearKernels = { form: "subgroup", tiles };
  setLinearKernels(gpu, choice);
  return choice;
}

/** Shortest time in ms of one product of this form with the tiles that are set. */
async function measure(gpu: Gpu, form: LinearForm): Promise<number> {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const [m, n, k] = SIZE;
  const x = scope.zeros([m, k]);
  const y = scope.zeros([m, n]);
  const w = scope.zeros([n, k], form.endsWith("Bf16") ? "bf16" : "f32");
  let best = Infinity;
  for (let round = 0; round <= ROUNDS; round++) {
    await gpu.finish();
    if (form === "tn") matmulTN(g, y, x, w);
    else if (form.startsWith("nt")) matmulNT(g, x, w, y);
    else matmulNN(g, y, w, x);
    const start = performance.now();
    const done = gpu.finish(); // the call blocks until the device is done; awaiting it adds a fixed sleep
    const ms = performance.now() - start;
    await done;
    if (round > 0) best = Math.min(best, ms); // round 0 compiles
  }
  return best;
}
