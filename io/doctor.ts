/**
 * What computes here, how fast, and what to do about problems: `./denow task doctor`.
 *
 * Leaves nothing behind but the cache folder, and finishes in seconds: kernels that were never measured are not
 * measured here.
 */
import { statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Graph } from "../autograd/tape.ts";
import type { AdapterInfo, Gpu, Limits } from "../gpu/device.ts";
import type { Scope } from "../gpu/pool.ts";
import { matmulNT } from "../ops/linear.ts";
import { cacheFolder, environment } from "./cache_folder.ts";
import { choiceFile, describeKernels, driverFiles } from "./kernel_choice.ts";
import { loadLoop, measure, numCores, references, type Timing, type Workload } from "./measure.ts";
import { kernelOrigin, openGpu } from "./open_gpu.ts";

/** The adapter at work. */
export interface AdapterFacts {
  readonly info: AdapterInfo;
  readonly limits: Limits;
  readonly isSoftware: boolean;
  /** Kernels and register tiles of the matrix products, and where that choice comes from. */
  readonly kernels: string;
  readonly kernelOrigin: string;
  /** Ceiling, loads from the cache, loads from memory, then matrix products. */
  readonly speeds: readonly Timing[];
}

/** A folder's place on its disk. */
export interface Folder {
  readonly path: string;
  /** Undefined where it cannot be asked. */
  readonly freeBytes: number | undefined;
}

/** The cache folder. */
export interface CacheFacts extends Folder {
  readonly bytes: number;
  readonly numFiles: number;
  readonly kernelFile: string;
  readonly hasKernelFile: boolean;
  readonly isWritable: boolean;
}

/** Everything that the doctor looks at. */
export interface Facts {
  readonly os: string;
  readonly arch: string;
  readonly numCores: number;
  readonly deno: string;
  /** DENO_WEBGPU_BACKEND, undefined when not set. */
  readonly backend: string | undefined;
  /** The Vulkan driver's manifest where the environment names one. */
  readonly driverFiles: string | undefined;
  /** Device files of real GPUs, where the task found any. */
  readonly gpuFiles: readonly string[];
  readonly adapter: AdapterFacts | undefined;
  /** Why there is no adapter. */
  readonly adapterError: string | undefined;
  readonly cache: CacheFacts | undefined;
  readonly logs: Folder;
}

/** Something that is wrong or slow, and what to do about it. */
export interface Problem {
  readonly what: string;
  readonly remedy: string;
}

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const SLOW_LOADS = 40; // operations in the time of one byte: 73 with Mesa 22 on Zen 3, 10 to 14 elsewhere
const LITTLE_DISK = 2 ** 31; // two checkpoints of a small model, a downloaded one, logs

/**
 * Looks at everything.
 * @param options.kernels as {@link openGpu} takes it
 * @throws {RangeError} for `kernels` that do not exist or that this adapter cannot run.
 */
export async function examine(options: { readonly kernels?: string } = {}): Promise<Facts> {
  let adapter: AdapterFacts | undefined;
  let adapterError: string | undefined;
  try {
    using gpu = await openGpu({ ...options, measure: false });
    adapter = await examineAdapter(gpu);
  } catch (error) {
    if (error instanceof RangeError) throw error; // the user's --kernels
    adapterError = error instanceof Error ? error.message : String(error);
  }
  const folder = cacheFolder();
  const files = environment("COLAR_GPU_FILES")?.split(" ") ?? [];
  return {
    os: Deno.build.os,
    arch: Deno.build.arch,
    numCores,
    deno: Deno.version.deno,
    backend: environment("DENO_WEBGPU_BACKEND"),
    driverFiles: driverFiles(),
    gpuFiles: files.filter((file) => file !== "" && !file.includes("*")), // a pattern: nothing matched
    adapter,
    adapterError,
    cache: folder === undefined ? undefined : examineCache(folder),
    logs: onDisk(join(ROOT, "logs")),
  };
}

/** What is wrong or slow, in order of weight. */
export function problemsOf(facts: Facts): Problem[] {
  const problems: Problem[] = [];
  const add = (what: string, remedy: string) => problems.push({ what, remedy });
  const { adapter, cache, os, backend } = facts;
  if (!adapter) {
    add(
      `no device to compute on (${facts.adapterError})`,
      os === "linux"
        ? "install a Vulkan driver: sudo apt-get install -y mesa-vulkan-drivers libvulkan1"
        : "update the system's graphics driver",
    );
  }
  if (os === "linux" && backend !== "vulkan") {
    add(
      `DENO_WEBGPU_BACKEND is ${backend ? `'${backend}'` : "not set"}`,
      "start through ./denow, or export DENO_WEBGPU_BACKEND=vulkan",
    );
  }
  if (adapter) {
    const { description, subgroupSize, features } = adapter.info;
    if (/llvmpipe|swiftshader|software/i.test(description) && facts.gpuFiles.length > 0) {
      add(
        `${facts.gpuFiles.join(", ")} is there, but the adapter is software`,
        driverRemedy(facts.gpuFiles),
      );
    }
    if (!features.includes("subgroups")) {
      add(
        "the adapter has no subgroups: rows and products take slower kernels",
        "update the driver (Mesa 22.3 or newer, or the vendor's current one)",
      );
    } else if (!adapter.isSoftware && /llvmpipe/i.test(description)) {
      add(
        `software Vulkan with subgroups of ${subgroupSize || "no fixed size"} instead of 8`,
        "unset LP_NATIVE_VECTOR_WIDTH; the kernels for real GPUs are used, which are slower here",
      );
    }
    const [{ gflops = 0 }, { gigabytes = 0 }] = adapter.speeds;
    if (adapter.isSoftware && gflops > SLOW_LOADS * gigabytes) {
      add(
        `loads are slow, ${
          gigabytes.toFixed(1)
        } GB/s: this Mesa collects vectors lane by lane on such a CPU`,
        "use Mesa 25 or newer: ./denow brings it on Debian 12 (unset VK_DRIVER_FILES), else update Mesa",
      );
    }
    if (!features.includes("timestamp-query")) {
      add("the adapter has no timestamps", "nothing is lost but the benchmark's time per kernel");
    }
  }
  if (!cache) {
    add("no cache folder is known", "start through ./denow, or set COLAR_CACHE to a folder");
  } else if (!cache.isWritable) {
    add(
      `the cache folder ${cache.path} cannot be written`,
      "set COLAR_CACHE to a folder that can be: without one kernels are measured in every run",
    );
  }
  for (const { path, freeBytes } of [...(cache ? [cache] : []), facts.logs]) {
    if (freeBytes === undefined || freeBytes >= LITTLE_DISK) continue;
    const gib = (freeBytes / 2 ** 30).toFixed(1);
    add(`only ${gib} GiB are free for ${path}`, "free some: models and logs take a few GiB");
  }
  return problems;
}

function driverRemedy(files: readonly string[]): string {
  return files.some((file) => file.includes("nvidia"))
    ? "install NVIDIA's Vulkan driver (nvidia_icd.json; in a container NVIDIA_DRIVER_CAPABILITIES=all)"
    : "install its Vulkan driver (mesa-vulkan-drivers), and join the group of the file: render or video";
}

async function examineAdapter(gpu: Gpu): Promise<AdapterFacts> {
  using scope = gpu.scope();
  const speeds = await measure(gpu, [
    ...references(gpu, scope),
    loadLoop(gpu, scope, gpu.isSoftware ? 64 << 20 : 128 << 20),
    product(gpu, scope, "nano gate", [3072, 352, 128], "f32"),
    product(gpu, scope, "SmolLM2 gate", [128, 1536, 576], "f32"),
    product(gpu, scope, "SmolLM2 gate", [128, 1536, 576], "bf16"),
  ], { rounds: 3 });
  return {
    info: gpu.info,
    limits: gpu.limits,
    isSoftware: gpu.isSoftware,
    kernels: describeKernels(gpu),
    kernelOrigin: kernelOrigin(gpu),
    speeds,
  };
}

function product(
  gpu: Gpu,
  scope: Scope,
  layer: string,
  [m, n, k]: readonly [number, number, number],
  dtype: "f32" | "bf16",
): Workload {
  const g = new Graph(gpu, scope, { training: false });
  const [x, w, y] = [scope.zeros([m, k]), scope.zeros([n, k], dtype), scope.empty([m, n])];
  const name = `${layer}, ${m}x${n}x${k} ${dtype}`;
  return { name, flops: 2 * m * n * k, prepare: () => () => matmulNT(g, x, w, y) };
}

function examineCache(path: string): CacheFacts {
  let bytes = 0;
  let numFiles = 0;
  const walk = (folder: string) => {
    for (const { name, isDirectory, isFile } of Deno.readDirSync(folder)) {
      const file = join(folder, name);
      if (isDirectory) walk(file);
      if (!isFile) continue;
      numFiles++;
      bytes += Deno.statSync(file).size;
    }
  };
  attempt(() => walk(path)); // absent, or changing meanwhile: as far as it goes
  const kernelFile = choiceFile(path);
  const hasKernelFile = attempt(() => Deno.statSync(kernelFile).isFile) ?? false;
  const isWritable = attempt(() => {
    Deno.mkdirSync(path, { recursive: true });
    Deno.removeSync(Deno.makeTempFileSync({ dir: path }));
    return true;
  }) ?? false;
  return { ...onDisk(path), bytes, numFiles, kernelFile, hasKernelFile, isWritable };
}

/** A folder, and what is free where it is or would be made. */
function onDisk(path: string): Folder {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "statfs" });
  let freeBytes: number | undefined;
  for (let at = path; state === "granted" && freeBytes === undefined;) {
    const disk = attempt(() => statfsSync(at));
    if (disk) freeBytes = disk.bavail * disk.bsize;
    if (at === dirname(at)) break;
    at = dirname(at);
  }
  return { path, freeBytes };
}

function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}
