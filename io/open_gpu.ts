/**
 * Opens the device with its matrix-product kernels chosen: measured once per adapter, Deno version and kernel sources,
 * then remembered in `kernels.json` in the cache folder.
 *
 * The remembered choice is a convenience: a cache that is torn, unreadable or not writable costs the seconds of a new
 * measurement and never the run.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { Gpu } from "../gpu/device.ts";
import { chooseLinear, type LinearKernels, setLinearKernels, tuneLinear } from "../ops/linear.ts";
import { cacheFolder } from "./cache_folder.ts";

/** What {@link openGpu} takes. */
export interface OpenOptions {
  /** `auto` (measured once, remembered), `subgroup`, `tiled`, or one register tile for all products: `subgroup:32x8`. */
  readonly kernels?: string;
}

/** Where the choice of kernels came from. */
export type KernelOrigin = "measured now" | "remembered" | "asked for" | "this adapter's default";

/** Where choices are kept, or undefined where there is no cache folder. */
export function kernelFile(): string | undefined {
  const folder = cacheFolder();
  return folder === undefined ? undefined : join(folder, "kernels.json");
}

const KERNELS = new URL("../kernels/", import.meta.url);
const PRODUCTS = ["nt", "ntBf16", "nn", "nnBf16", "tn"];
const origins = new WeakMap<Gpu, KernelOrigin>();

/**
 * Opens the default adapter and sets its kernels.
 * @throws {RangeError} for a `kernels` value that does not exist or that this adapter cannot run; {Error} when there is
 * no adapter.
 */
export async function openGpu({ kernels = "auto" }: OpenOptions = {}): Promise<Gpu> {
  const asked = parseKernels(kernels);
  const gpu = await Gpu.open();
  try {
    if (asked) setLinearKernels(gpu, asked);
    const origin = asked ? "asked for" : await rememberOrMeasure(gpu);
    origins.set(gpu, origin);
    return gpu;
  } catch (error) {
    gpu.destroy();
    throw error;
  }
}

/** Where the kernels of a device that {@link openGpu} opened come from. */
export function kernelOrigin(gpu: Gpu): KernelOrigin | undefined {
  return origins.get(gpu);
}

/**
 * Reads a `--kernels` value.
 * @returns the choice, or undefined for `auto`
 * @throws {RangeError} naming the choices.
 */
export function parseKernels(text: string): LinearKernels | undefined {
  if (text === "auto") return undefined;
  const [, form, rows, columns] = /^(subgroup|tiled)(?::(8|16|32)x(4|8))?$/.exec(text) ?? [];
  if (form === "tiled" && !rows) return { form, tiles: {} };
  if (form !== "subgroup") {
    throw new RangeError(
      `--kernels must be auto, tiled, subgroup or subgroup:RxC with R 8, 16 or 32 and C 4 or 8, got '${text}'`,
    );
  }
  if (!rows) return { form, tiles: {} };
  // The weight gradient reads 32 rows a load, so its tile has no other height.
  const tile = (product: string) => ({ R: product === "tn" ? 32 : +rows, C: +columns });
  return { form, tiles: Object.fromEntries(PRODUCTS.map((product) => [product, tile(product)])) };
}

async function rememberOrMeasure(gpu: Gpu): Promise<KernelOrigin> {
  if (!gpu.isSoftware) return "this adapter's default"; // has one form without sizes to choose
  const file = kernelFile();
  const key = await choiceKey(gpu);
  const known = key && file ? (await readChoices(file))[key] : undefined;
  if (known !== undefined && accept(gpu, known)) return "remembered";
  console.error("measuring which matrix kernels suit this machine (once, a few seconds)");
  const choice = await tuneLinear(gpu);
  if (key && file) await writeChoice(file, key, choice);
  return "measured now";
}

/** Sets a choice from disk if it is one; false when it is not. */
function accept(gpu: Gpu, choice: LinearKernels): boolean {
  try {
    setLinearKernels(gpu, choice);
    return true;
  } catch {
    return false; // written by another version, or by hand
  }
}

/** Adapter, Deno version and a hash of the kernels' sources: what a measurement is valid for. */
async function choiceKey(gpu: Gpu): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    const names: string[] = [];
    for await (const { name } of Deno.readDir(KERNELS)) {
      if (/^linear_.*\.wgsl$/.test(name)) names.push(name);
    }
    for (const name of names.sort()) hash.update(await Deno.readFile(new URL(name, KERNELS)));
  } catch {
    return undefined; // no permission to read the project, or it runs from an address
  }
  const { description, vendor } = gpu.info;
  const sources = hash.digest("hex").slice(0, 12);
  return `${description} | vendor ${vendor} | Deno ${Deno.version.deno} | kernels ${sources}`;
}

async function readChoices(file: string): Promise<Record<string, LinearKernels>> {
  try {
    const json = JSON.parse(await Deno.readTextFile(file));
    return typeof json === "object" && json !== null && !Array.isArray(json) ? json : {};
  } catch {
    return {};
  }
}

/** Adds a choice, drops those of the same adapter for other kernels; a rename, so that no reader sees half a file. */
async function writeChoice(file: string, key: string, choice: LinearKernels): Promise<void> {
  const machine = key.replace(/ \| kernels \w+$/, "");
  const others = Object.entries(await readChoices(file)).filter(([k]) => !k.startsWith(machine));
  const text = JSON.stringify(Object.fromEntries([...others, [key, choice]]), null, 2);
  const temporary = `${file}.${crypto.randomUUID()}`;
  try {
    await Deno.mkdir(join(file, ".."), { recursive: true });
    await Deno.writeTextFile(temporary, text + "\n");
    await Deno.rename(temporary, file);
  } catch (error) {
    const why = error instanceof Error ? error.message.split("\n")[0] : error;
    console.error(`cannot remember the choice of kernels in ${file}: ${why}; going on`);
    await Deno.remove(temporary).catch(() => {});
  }
}

/** The kernels of a device in one line: `subgroup: nt 32x8, ntBf16 16x8, ...`. */
export function describeKernels(gpu: Gpu): string {
  const { form, tiles } = chooseLinear(gpu);
  const sizes = Object.entries(tiles).map(([product, { R, C }]) => `${product} ${R}x${C}`);
  return [form, sizes.join(", ")].filter(Boolean).join(": ");
}
