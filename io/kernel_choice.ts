/**
 * Which matrix-product kernels a device uses: asked for by `--kernels`, or measured once per adapter, driver, Deno version
 * and kernel sources, then remembered in `kernels.json` in the cache folder.
 *
 * What is remembered is a convenience: a file that is torn, unreadable or not writable costs the seconds of a new
 * measurement and never the run.
 */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import type { Gpu } from "../gpu/device.ts";
import { chooseLinear, type LinearKernels, setLinearKernels } from "../ops/linear.ts";
import { environment } from "./cache_folder.ts";

/** Where a device's choice came from. */
export type ChoiceOrigin = "asked for" | "measured now" | "remembered" | "default";

const KERNELS = new URL("../kernels/", import.meta.url);
const PRODUCTS = ["nt", "ntHalf", "nn", "nnHalf", "tn"];
const ROWS_OF_TN = 32; // at least: one load of the weight gradient covers 32 rows

/** The file in a cache folder that keeps the choices. */
export function choiceFile(cache: string): string {
  return join(cache, "kernels.json");
}

/**
 * Reads a `--kernels` value.
 * @returns the choice, or undefined for `auto`
 * @throws {RangeError} naming what there is.
 */
export function parseKernels(text: string): LinearKernels | undefined {
  if (text === "auto") return undefined;
  const [, form, rows, columns] = /^(subgroup|tiled)(?::(\d+)x(\d+))?$/.exec(text) ?? [];
  if (form === "tiled" && !rows) return { form, tiles: {} };
  if (form !== "subgroup") {
    throw new RangeError(
      `--kernels must be auto, tiled, subgroup or subgroup:RxC (a register tile, as in subgroup:32x8), got '${text}'`,
    );
  }
  if (!rows) return { form, tiles: {} };
  const tile = (product: string) => ({
    R: product === "tn" ? Math.max(ROWS_OF_TN, +rows) : +rows,
    C: +columns,
  });
  return { form, tiles: Object.fromEntries(PRODUCTS.map((product) => [product, tile(product)])) };
}

/** The device's kernels in one line: `subgroup: nt 32x8, ntHalf 16x8, ...`. */
export function describeKernels(gpu: Gpu): string {
  const { form, tiles } = chooseLinear(gpu);
  const sizes = Object.entries(tiles).map(([product, { R, C }]) => `${product} ${R}x${C}`);
  return [form, sizes.join(", ")].filter(Boolean).join(": ");
}

/**
 * Sets the remembered choice for this device; measures and remembers it where there is none.
 * @param cache the cache folder; undefined: nothing is remembered
 * @param measure chooses by measuring; undefined: the default stays where nothing is remembered
 */
export async function chooseKernels(
  gpu: Gpu,
  cache: string | undefined,
  measure: ((gpu: Gpu) => Promise<LinearKernels>) | undefined,
): Promise<ChoiceOrigin> {
  const file = cache === undefined ? undefined : choiceFile(cache);
  const key = await choiceKey(gpu);
  const known = key && file ? (await readChoices(file))[key] : undefined;
  if (known !== undefined && accepts(gpu, known)) return "remembered";
  if (!measure) return "default";
  console.error("measuring once which matrix kernels suit this machine (about 10 seconds)");
  const choice = await measure(gpu);
  setLinearKernels(gpu, choice);
  if (key && file) await writeChoice(file, key, choice);
  return "measured now";
}

/** Sets a choice from disk; false when it is none: written by another version, or by hand. */
function accepts(gpu: Gpu, choice: LinearKernels): boolean {
  try {
    setLinearKernels(gpu, choice);
    return true;
  } catch {
    return false;
  }
}

/**
 * The Vulkan driver that the environment names instead of the system's. WebGPU does not tell drivers apart: two
 * versions of Mesa give the same adapter.
 */
export function driverFiles(): string | undefined {
  return environment("VK_DRIVER_FILES") ?? environment("VK_ICD_FILENAMES");
}

/** What a measurement is valid for; undefined when the kernels' sources cannot be read. */
async function choiceKey(gpu: Gpu): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    const names: string[] = [];
    for await (const { name } of Deno.readDir(KERNELS)) {
      if (/^linear_.*\.wgsl$/.test(name)) names.push(name);
    }
    for (const name of names.sort()) hash.update(await Deno.readFile(new URL(name, KERNELS)));
  } catch {
    return undefined;
  }
  const { description, vendor } = gpu.info;
  const deno = `Deno ${Deno.version.deno}`;
  const sources = `kernels ${hash.digest("hex").slice(0, 12)}`;
  return [description, `vendor ${vendor}`, driverFiles() ?? "system driver", deno, sources].join(
    " | ",
  );
}

async function readChoices(file: string): Promise<Record<string, LinearKernels>> {
  try {
    const json = JSON.parse(await Deno.readTextFile(file));
    return typeof json === "object" && json !== null && !Array.isArray(json) ? json : {};
  } catch {
    return {};
  }
}

/** Adds a choice and drops the adapter's for other kernels; by a rename, so that no reader sees half a file. */
async function writeChoice(file: string, key: string, choice: LinearKernels): Promise<void> {
  const adapter = key.replace(/kernels \w+$/, "");
  const others = Object.entries(await readChoices(file)).filter(([k]) => !k.startsWith(adapter));
  const choices = Object.fromEntries([...others, [key, choice]]);
  const temporary = `${file}.${crypto.randomUUID()}`;
  try {
    await Deno.mkdir(dirname(file), { recursive: true });
    await Deno.writeTextFile(temporary, JSON.stringify(choices, null, 2) + "\n");
    await Deno.rename(temporary, file);
  } catch (error) {
    const why = error instanceof Error ? error.message.split("\n")[0] : error;
    console.error(`cannot remember the kernels in ${file} (${why}): they are measured every time`);
    await Deno.remove(temporary).catch(() => {});
  }
}
