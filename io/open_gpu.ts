/** Opens the device with the matrix-product kernels that suit it; see kernel_choice.ts. */
import { Gpu } from "../gpu/device.ts";
import { setLinearKernels, tuneLinear } from "../ops/linear.ts";
import { cacheFolder } from "./cache_folder.ts";
import { type ChoiceOrigin, chooseKernels, parseKernels } from "./kernel_choice.ts";

/** How a device is opened. */
export interface OpenOptions {
  /**
   * `auto`: measured once and remembered; `tiled` or `subgroup`: that form, unmeasured; `subgroup:32x8`: that register
   * tile for all products. @default {"auto"}
   */
  readonly kernels?: string;
  /** False: where nothing is remembered, `auto` is the untuned default, at once. @default {true} */
  readonly measure?: boolean;
}

const origins = new WeakMap<Gpu, ChoiceOrigin>();

/**
 * Opens the default adapter and sets its kernels.
 * @throws {RangeError} for `kernels` that do not exist or that this adapter cannot run; {Error} when there is no
 * adapter.
 */
export async function openGpu(
  { kernels = "auto", measure = true }: OpenOptions = {},
): Promise<Gpu> {
  const asked = parseKernels(kernels);
  const gpu = await Gpu.open();
  try {
    let origin: ChoiceOrigin = "asked for";
    if (asked) setLinearKernels(gpu, asked);
    else if (!gpu.isSoftware) origin = "default"; // real GPUs have one form, without tiles to choose
    else origin = await chooseKernels(gpu, cacheFolder(), measure ? tuneLinear : undefined);
    origins.set(gpu, origin);
    return gpu;
  } catch (error) {
    gpu.destroy();
    throw error;
  }
}

/** Where the kernels of a device that {@link openGpu} opened come from. */
export function kernelOrigin(gpu: Gpu): ChoiceOrigin {
  return origins.get(gpu) ?? "default";
}
