/** The doctor's facts as text. */
import type { AdapterFacts, CacheFacts, Facts, Folder, Problem } from "./doctor.ts";
import type { Timing } from "./measure.ts";

/** The report, one fact a line, then each problem with what to do about it. */
export function doctorReport(facts: Facts, problems: readonly Problem[]): string {
  const { adapter, cache, logs } = facts;
  const rows: [string, string][] = [
    ["System", `${facts.os} ${facts.arch}, ${facts.numCores} cores, Deno ${facts.deno}`],
    [
      "Backend",
      `${facts.backend ?? "Deno's choice"}, driver ${facts.driverFiles ?? "of the system"}`,
    ],
    ...(adapter ? adapterRows(adapter) : [["Adapter", "none"] as [string, string]]),
    ["Cache", cache ? cacheLine(cache) : "none"],
    ["Disk", [...(cache ? [cache] : []), logs].map(diskLine).join("; ")],
    ["Problems", problems.length === 0 ? "none" : ""],
  ];
  const lines = rows.map(([name, value]) => `${name.padEnd(10)} ${value}`.trimEnd());
  return [...lines, ...problems.map(({ what, remedy }) => `- ${what}\n  ${remedy}`)].join("\n");
}

function adapterRows({ info, limits, ...adapter }: AdapterFacts): [string, string][] {
  const [ceiling, cached, memory, ...products] = adapter.speeds;
  const { vendor, architecture, device, subgroupSize } = info;
  const ids = [`vendor ${vendor}`, architecture && `architecture ${architecture}`]
    .concat(device && device !== "0" ? `device ${device}` : []).filter(Boolean).join(", ");
  const kind = adapter.isSoftware ? "software Vulkan: the CPU computes" : "a GPU";
  const features = info.features.map((feature) =>
    feature === "subgroups" ? `subgroups of ${subgroupSize || "several sizes"}` : feature
  );
  return [
    ["Adapter", `${info.description || "without a name"} (${ids}), ${kind}`],
    ["Features", features.join(", ") || "none"],
    [
      "Limits",
      `buffer ${size(limits.maxBufferSize)}, binding ${size(limits.maxBinding)}, ` +
      `offsets of ${limits.storageAlignment} bytes, ${limits.maxWorkgroups} workgroups a dimension`,
    ],
    ["Speed", `${speed(ceiling)}; ${speed(cached)}; ${speed(memory)}`],
    ...products.map((timing): [string, string] => {
      const share = (timing.gflops ?? 0) / (ceiling.gflops ?? 1);
      return ["", `${speed(timing)}, ${(100 * share).toFixed(0)} % of the ceiling`];
    }),
    ["Kernels", `${adapter.kernels} (${originText(adapter.kernelOrigin)})`],
  ];
}

function originText(origin: string): string {
  return origin === "default" ? "default; software Vulkan measures at the first run" : origin;
}

function speed({ name, gflops, gigabytes }: Timing): string {
  return gflops === undefined
    ? `${name}: ${gigabytes?.toFixed(1)} GB/s`
    : `${name}: ${gflops.toFixed(1)} GFLOP/s`;
}

function cacheLine({ path, bytes, numFiles, kernelFile, hasKernelFile }: CacheFacts): string {
  const kernels = hasKernelFile ? `kernels in ${kernelFile}` : "no kernels remembered yet";
  return `${path}, ${size(bytes)} in ${numFiles} file${numFiles === 1 ? "" : "s"}, ${kernels}`;
}

function diskLine({ path, freeBytes }: Folder): string {
  return `${freeBytes === undefined ? "unknown" : size(freeBytes)} free for ${path}`;
}

function size(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${unit === 0 ? bytes : bytes.toPrecision(3)} ${units[unit]}`;
}
