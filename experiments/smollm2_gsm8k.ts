/**
 * CoLaR on a real model: LoRA steps on SmolLM2-135M-Instruct with rows of GSM8k-Aug, then answers to test questions;
 * whether the loss falls, and what a step, an answer and the memory cost.
 *
 *   ./denow task smollm2:gsm8k --model=FOLDER --data=FOLDER       # writes experiments/smollm2_gsm8k.jsonl
 *   ./denow task smollm2:gsm8k --model=FOLDER --data=FOLDER --steps=3 --log=FILE activation_checkpointing=True
 *
 * FOLDER: a model in Hub layout; a data set with train.json, val.json and test.json. The settings are the paper's (LoRA
 * of rank 128 on q_proj and v_proj, latent head of width 2048, rate 1e-4) but for batches of 8 rows, and 8 latents and
 * 16 tokens an answer. Everything runs through the functions that `train` is made of. The log's first line says what
 * ran on what, its last sums up. A step's time is that from its submission to the next one's: on software
 * Vulkan a submission waits for the one before. The first one's holds the compilation of kernels, so means leave it out.
 */
import { basename, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { mean } from "../data/metrics.ts";
import type { Gpu } from "../gpu/device.ts";
import { callersFolder } from "../io/callers_folder.ts";
import { type ColarConfig, resolveConfig } from "../io/config.ts";
import { openGpu } from "../io/open_gpu.ts";
import { Report } from "../io/report.ts";
import { noLog, type RunLog } from "../io/run_log.ts";
import { batchDraws } from "../models/colar_draws.ts";
import { buildMethod } from "../training/build.ts";
import { loadData } from "../training/load_data.ts";
import { evaluate } from "../training/evaluate.ts";
import { train } from "../training/trainer.ts";

/** What the experiment runs on, and how long. */
export interface ExperimentOptions {
  /** A folder in Hub layout. */
  readonly model: string;
  /** A folder with train.json, val.json and test.json. */
  readonly data: string;
  /** Optimizer steps of 8 rows. @default {20} */
  readonly steps?: number;
  /** Test questions. @default {16} */
  readonly questions?: number;
  /** Further `key=value` arguments. @default {[]} */
  readonly settings?: readonly string[];
}

/** A line of the log. */
export type Line = Readonly<Record<string, unknown>>;

const SETTINGS = [
  ...["batch_size=8", "r=128", "lp_intermediate_size=2048", "do_lora=True"],
  ...["max_n_latent_forward=8", "max_new_tokens=16"],
];
const COMPARED = 5; // steps at each end whose mean losses are compared

/**
 * Trains, answers, measures.
 * @param write is given each line of the log, in order
 * @returns the last line: whether the loss fell, and what everything cost
 */
export async function smollm2OnGsm8k(
  gpu: Gpu,
  { model, data, steps = 20, questions = 16, settings = [] }: ExperimentOptions,
  write: (line: Line) => void,
): Promise<Line> {
  const { config } = await resolveConfig({
    model: "colar",
    dataset: "gsm8k_aug",
    overrides: [
      ...SETTINGS,
      ...[`model_id=${model}`, `dataset_name=${data}`, `max_steps=${steps}`],
      ...[`val_batch_size=${questions}`, ...settings],
    ],
  });
  const { train: rows, val, test } = await loadData(config, ".");
  using built = await buildMethod({ gpu, config, workspace: "." });
  const { method } = built;
  const numTrained = method.parameters.reduce((sum, { tensor }) => sum + tensor.size, 0);
  write({ model: basename(model), adapter: gpu.info.description, rows: rows.length, numTrained });

  const drawn = (config.model as ColarConfig).model_kwargs.latent_cot_config;
  const factorOf = (step: number) =>
    // a step is one batch
    batchDraws({ seed: config.seed, step: step - 1 }, drawn, method.backbone.hiddenSize)
      .compression;
  // A step's losses are read when the next one was submitted, or its epoch has ended.
  const times: Cost[] = [];
  const losses: number[] = [];
  let tokens = 0;
  let clock = startClock();
  const endStep = (step: number) => {
    times[step] ??= clock();
    clock = startClock();
  };
  const log: RunLog = {
    ...noLog,
    step(step, values) {
      if (values.loss === undefined) return; // a validation
      if (!times[step]) endStep(step); // an epoch ends with it
      losses.push(values.loss as number);
      if (step > 1) tokens += values.tokens as number;
      write({
        step,
        compression_factor: factorOf(step),
        ...rounded({ ...values }),
        ...times[step],
      });
    },
  };
  await train({
    gpu,
    method,
    config,
    dataset: { train: rows, val: val.slice(0, 1) }, // a run ends with a validation
    report: new Report(log, true),
    onStep: (step) => endStep(step - 1),
  });
  const training = { peakBytes: gpu.pool.memory.peak };

  const [speed] = method.speeds;
  const asked = test.slice(0, questions);
  const answering = startClock();
  const { metrics } = await evaluate(method, {
    rows: asked,
    config,
    speed,
    greedy: false,
    seed: config.seed,
  });
  const answers = answering();
  const later = times.slice(2); // the first step compiles the kernels
  const sum = (costs: readonly Cost[], of: keyof Cost) => costs.reduce((s, c) => s + c[of], 0);
  const means = (costs: readonly Cost[]) => ({
    seconds: sum(costs, "seconds") / costs.length,
    cpu_seconds: sum(costs, "cpu_seconds") / costs.length,
  });
  const factors = [...new Set(losses.slice(1).map((_, i) => factorOf(i + 2)))].sort();
  const byFactor = factors.map((factor) => [
    `c=${factor}`,
    rounded(means(later.filter((_, i) => factorOf(i + 2) === factor))),
  ]);
  const firstLoss = mean(losses.slice(0, COMPARED));
  const lastLoss = mean(losses.slice(-COMPARED));
  const summary = {
    loss_first: firstLoss,
    loss_last: lastLoss,
    step: rounded(means(later)),
    step_by_compression_factor: Object.fromEntries(byFactor),
    tokens_per_second: tokens / sum(later, "seconds"),
    tokens_per_cpu_second: tokens / sum(later, "cpu_seconds"),
    answers: { questions: asked.length, ...rounded({ ...answers, ...metrics }) },
    pool_peak_gib: training.peakBytes / 2 ** 30,
    rss_peak_gib: process.resourceUsage().maxRSS / 2 ** 20, // of KiB; VmHWM in /proc/self/status
  };
  const line = { falls: lastLoss < firstLoss, ...rounded(summary) };
  write(line);
  return line;
}

/** Time that something took. */
interface Cost {
  readonly seconds: number;
  /** Of all cores, of this process alone. */
  readonly cpu_seconds: number;
}

/** @returns a function that gives the time since now */
function startClock(): () => Cost {
  const start = performance.now();
  const cpu = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(cpu);
    return rounded({
      seconds: (performance.now() - start) / 1000,
      cpu_seconds: (user + system) / 1e6,
    });
  };
}

/** The same with every number to four decimals, the learning rate excepted. */
function rounded<T extends Record<string, unknown>>(values: T): T {
  const entries = Object.entries(values).map(([key, value]) =>
    typeof value === "number" && key !== "lr" ? [key, Math.round(value * 1e4) / 1e4] : [key, value]
  );
  return Object.fromEntries(entries);
}

if (import.meta.main) {
  const { values: { model, data, steps, log }, positionals: settings } = parseArgs({
    allowPositionals: true,
    options: {
      model: { type: "string" },
      data: { type: "string" },
      steps: { type: "string", default: "20" },
      log: { type: "string", default: "experiments/smollm2_gsm8k.jsonl" },
    },
  });
  if (!model || !data) {
    console.error(
      "smollm2:gsm8k needs --model=FOLDER (Hub layout) and --data=FOLDER (train.json, ...)",
    );
    Deno.exit(2);
  }
  using file = Deno.openSync(log, { write: true, create: true, truncate: true });
  const write = (line: Line) => {
    const text = JSON.stringify(line);
    console.log(text);
    file.writeSync(new TextEncoder().encode(`${text}\n`));
  };
  const gpu = await openGpu();
  const folder = (path: string) => resolve(callersFolder() ?? ".", path);
  const options = { model: folder(model), data: folder(data), steps: Number(steps), settings };
  const { falls } = await smollm2OnGsm8k(gpu, options, write);
  if (!falls) {
    console.error("the loss did not fall");
    Deno.exit(1);
  }
}
