/**
 * Which matrix-product kernels a device uses: subgroup register tiles on software Vulkan, tiles in workgroup memory on
 * real GPUs. The best register tile differs between driver versions and processors, so it can be measured once.
 */
import type { Gpu } from "../gpu/device.ts";

/** A register tile: R rows and 8 C columns a subgroup of 8 lanes. */
export interface Tile {
  readonly R: number;
  readonly C: number;
}

/** The five products that have register tiles of their own; Half: of a weight of 16 bits. See {@link LinearKernels}. */
export type LinearForm = "nt" | "ntHalf" | "nn" | "nnHalf" | "tn";

/** The choice for a device; plain JSON, so that a caller may keep it on disk. */
export interface LinearKernels {
  /** `subgroup`: 8 lanes and registers (software Vulkan); `tiled`: 64 threads and workgroup memory. */
  readonly form: "subgroup" | "tiled";
  /** Register tile by {@link LinearForm}; a missing one means {@link defaultTile}. */
  readonly tiles: Readonly<Record<string, Tile>>;
}

/**
 * The register tile where nothing was measured: the best of llvmpipe since Mesa 24, where it also compiles in a tenth
 * of the time of 32 x 8. Mesa 22, whose loads cost more, prefers 32 x 8 (AVX-512) or 64 x 8: measure there.
 */
export function defaultTile(form: LinearForm): Tile {
  return form === "tn" ? { R: 32, C: 4 } : { R: 16, C: 4 };
}

const chosen = new WeakMap<Gpu, LinearKernels>();

/**
 * The kernels that `linear` and the raw products use on this device.
 * @returns what `setLinearKernels` was given, else the untuned default of the adapter.
 */
export function chooseLinear(gpu: Gpu): LinearKernels {
  return chosen.get(gpu) ?? { form: gpu.isSoftware ? "subgroup" : "tiled", tiles: {} };
}

/**
 * Sets the kernels for this device: a measured choice, or the other form in a test.
 * @throws {RangeError} for an unknown form, the subgroup form without subgroups of 8, or a tile that no kernel has.
 */
export function setLinearKernels(gpu: Gpu, choice: LinearKernels): void {
  if (choice.form !== "subgroup" && choice.form !== "tiled") {
    throw new RangeError(`linear: form must be 'subgroup' or 'tiled', got '${choice.form}'`);
  }
  if (choice.form === "subgroup" && gpu.info.subgroupSize !== 8) {
    throw new RangeError(
      `linear: form 'subgroup' needs subgroups of 8 lanes, this adapter has ` +
        `${gpu.info.subgroupSize || "no fixed size"}; use 'tiled'`,
    );
  }
  for (const [name, { R, C }] of Object.entries(choice.tiles)) {
    const rows = name === "tn" ? [16, 32, 64] : [8, 16, 32, 64]; // TN uses 32 of 64
    if (!rows.includes(R) || (C !== 4 && C !== 8)) {
      throw new RangeError(
        `linear: tile '${name}' is ${R}x${C}; R must be one of ${rows.join(", ")} and C 4 or 8`,
      );
    }
  }
  chosen.set(gpu, choice);
}

/**
 * The tile for one call: the preferred one, narrower and higher where there are few columns, lower where it would
 * mostly compute rows that are not there or leave cores idle. It does not change the order of any sum.
 */
export function tileFor(preferred: Tile, form: LinearForm, rows: number, columns: number): Tile {
  const C = columns <= 32 || (rows <= 8 && form !== "tn") ? 4 : preferred.C;
  const lowest = form === "tn" ? 16 : 8;
  let R = Math.min(form === "tn" ? 32 : 64, preferred.R * preferred.C / C);
  while (R > lowest && rows <= R / 2) R /= 2;
  const tiles = () => Math.ceil(rows / R) * Math.ceil(columns / (8 * C));
  while (R > 16 && tiles() < navigator.hardwareConcurrency) R /= 2;
  return { R, C };
}
