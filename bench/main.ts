/**
 * The benchmark: kernels and steps against what the device can do at most, measured in the same run.
 *
 * `./denow task bench` prints tables and saves bench/results/<adapter>.json; see bench/README.md for the columns.
 */
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { describeKernels, driverFiles } from "../io/kernel_choice.ts";
import { numCores } from "../io/measure.ts";
import { nearest } from "../io/nearest.ts";
import { kernelOrigin, openGpu } from "../io/open_gpu.ts";
import { benchAttention } from "./attention.ts";
import { benchLatents } from "./latents.ts";
import { benchLinear } from "./linear.ts";
import { benchMethods } from "./methods.ts";
import type { Bench, Row } from "./rows.ts";
import { benchDecoding, benchLora, benchTraining } from "./steps.ts";
import { benchStreaming } from "./streaming.ts";

const GROUPS: Readonly<Record<string, (bench: Bench) => Promise<Row[]>>> = {
  linear: benchLinear,
  attention: benchAttention,
  streaming: benchStreaming,
  training: benchTraining,
  decoding: benchDecoding,
  latents: benchLatents,
  methods: benchMethods,
  lora: benchLora,
};

interface Options {
  readonly groups: string[];
  readonly quick: boolean;
  readonly kernels: string;
}

/** @throws {RangeError} for an option or group that does not exist. */
function parseOptions(args: string[]): Options {
  let values;
  try {
    ({ values } = parseArgs({
      args,
      options: {
        only: { type: "string" },
        quick: { type: "boolean", default: false },
        kernels: { type: "string", default: "auto" },
      },
    }));
  } catch (error) {
    const why = (error as Error).message.split(". ")[0];
    throw new RangeError(`${why}; there is: --only=GROUP,..., --quick, --kernels=KERNELS`);
  }
  const all = Object.keys(GROUPS);
  const groups = values.only?.split(",") ?? all.filter((name) => !values.quick || name !== "lora");
  for (const group of groups) {
    if (all.includes(group)) continue;
    const near = nearest(group, all);
    const hint = near ? `did you mean '${near}'?` : `there is: ${all.join(", ")}`;
    throw new RangeError(`Unknown group '${group}' (${hint})`);
  }
  return { groups, quick: values.quick, kernels: values.kernels };
}

async function bench({ groups, quick, kernels }: Options): Promise<void> {
  using gpu = await openGpu({ kernels });
  const about = {
    date: new Date().toISOString(),
    adapter: gpu.info,
    driver: driverFiles()?.replace(/^.*[/\\](?=.*[/\\])/, "") ?? "system",
    isSoftware: gpu.isSoftware,
    clock: gpu.isSoftware ? `process CPU time / ${numCores} cores` : "wall time",
    system: `${Deno.build.os} ${Deno.build.arch}, ${numCores} cores`,
    deno: Deno.version.deno,
    kernels: describeKernels(gpu),
    kernelOrigin: kernelOrigin(gpu),
  };
  console.log(
    `${gpu.info.description}, driver ${about.driver}, ${about.system}, Deno ${about.deno}`,
  );
  console.log(`time: ${about.clock}; kernels: ${about.kernels} (${about.kernelOrigin})`);
  const options = { rounds: quick ? 3 : 5, budgetMs: quick ? 5_000 : 60_000 };
  const rows: Row[] = [];
  for (const group of groups) {
    console.log(`\n== ${group}`);
    rows.push(...await GROUPS[group]({ gpu, quick, options }));
  }
  if (quick || groups.length < Object.keys(GROUPS).length) {
    return console.log("\nnot saved: only a complete run is");
  }
  const names = [gpu.info.description, about.driver === "system" ? "" : dirname(about.driver)];
  const slug = names.join(" ").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
  const file = new URL(`results/${slug || "adapter"}.json`, import.meta.url);
  await Deno.writeTextFile(file, JSON.stringify({ ...about, rows }, null, 1) + "\n");
  console.log(`\nsaved to bench/results/${slug || "adapter"}.json`);
}

try {
  await bench(parseOptions(Deno.args));
} catch (error) {
  if (!(error instanceof RangeError)) throw error;
  console.error(error.message);
  Deno.exit(2);
}
