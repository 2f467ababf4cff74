/**
 * CoLaR on the embedded model, through the functions that a run is made of: tokens/s of training, questions/s of
 * answering at two speeds, a step of reinforcement, the time until a method is ready, and memory.
 *
 * The method is untrained, so nothing ends by itself: how many latents and tokens an answer has is set, the latents to
 * what a trained one needs (README.md, #L). Times are those of the other groups, CPU time over cores on software Vulkan.
 */
import process from "node:process";
import { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import { arithRows } from "../data/arith.ts";
import { type Config, resolveConfig } from "../io/config.ts";
import { startClock } from "../io/measure.ts";
import { openGpu } from "../io/open_gpu.ts";
import type { Method } from "../models/method.ts";
import { AdamW } from "../training/adamw.ts";
import { buildMethod } from "../training/build.ts";
import { reinforcementBench } from "./reinforcement.ts";
import { type Bench, listTable, type Row, withTarget } from "./rows.ts";

/** A row with what it needed. */
export interface MethodRow extends Row {
  /** Most bytes of the pool in use at a time, parameters and optimizer included. */
  readonly peakBytes: number;
}

const BATCH = 16; // rows, as in configs/datasets/arith.yaml
const QUESTIONS = 64;
const TOKENS = 16; // of an answer
const ANSWERING = [{ speed: 2, latents: 11 }, { speed: 5, latents: 5 }];

/** Training, answering and start-up of CoLaR on assets/nano. */
export async function benchMethods(bench: Bench): Promise<MethodRow[]> {
  const rows = [
    await training(bench),
    ...await answering(bench),
    await reinforcement(bench),
    ...await starting(bench),
  ];
  console.log(listTable(rows));
  for (const { name, peakBytes } of rows) {
    console.log(`${name}: peak ${(peakBytes / 2 ** 20).toFixed(0)} MiB`);
  }
  const [now, most] = [Deno.memoryUsage().rss / 2 ** 20, process.resourceUsage().maxRSS / 2 ** 10];
  console.log(`process: ${now.toFixed(0)} MiB resident, ${most.toFixed(0)} MiB at most`);
  return rows;
}

async function training(bench: Bench): Promise<MethodRow> {
  const { gpu } = bench;
  const config = await configOf(5);
  using built = await buildMethod({ gpu, config, workspace: "." });
  const { method } = built;
  using optimizer = new AdamW(gpu, method.parameters, { lr: 1e-4 });
  let numTokens = 0;
  const step = () => numTokens = trainingStep(gpu, method, optimizer);
  const row = await timed(bench, `nano, CoLaR, training step, ${BATCH} rows`, async () => {
    step();
    await gpu.finish();
  });
  return { ...row, rate: { perSecond: 1000 * numTokens / row.ms, of: "tokens" } };
}

/** @returns tokens and latents that the backbone computed */
function trainingStep(gpu: Gpu, method: Method, optimizer: AdamW): number {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const rows = arithRows({ split: "train", count: BATCH, variant: "arith" });
  const draw = { seed: 0, step: 0, epoch: 0, progress: 0 };
  const { total, numTokens } = method.loss(g, rows, draw);
  optimizer.zeroGrad();
  g.backward([total]);
  optimizer.step();
  return numTokens;
}

async function answering(bench: Bench): Promise<MethodRow[]> {
  const rows: MethodRow[] = [];
  const problems = arithRows({ split: "test", count: QUESTIONS, variant: "arith" });
  const questions = problems.map(({ question }, id) => ({ id, question }));
  for (const { speed, latents } of ANSWERING) {
    const config = await configOf(latents);
    using built = await buildMethod({ gpu: bench.gpu, config, workspace: "." });
    const name = `nano, CoLaR, ${QUESTIONS} answers at speed ${speed}, ` +
      `${latents} latents, ${TOKENS} tokens`;
    const row = await timed(bench, name, async () => {
      const options = { speed, greedy: false, seed: 0 };
      const answers = await built.method.answer(questions, options);
      if (answers.length !== QUESTIONS) throw new Error(`${answers.length} answers`);
    });
    rows.push({ ...row, rate: { perSecond: 1000 * QUESTIONS / row.ms, of: "questions" } });
  }
  return rows;
}

async function reinforcement(bench: Bench): Promise<MethodRow> {
  using step = await reinforcementBench(bench.gpu);
  const { rounds = 5 } = bench.options; // a step takes seconds, so fewer rounds do
  const few = { ...bench, options: { ...bench.options, rounds: Math.min(2, rounds) } };
  return withTarget(await timed(few, step.name, () => step.run()), { ms: 10_000 }) as MethodRow;
}

/** What passes before the first step, and that step, whose kernels are compiled in it. */
async function starting(bench: Bench): Promise<MethodRow[]> {
  const config = await configOf(5);
  const clock = startClock(bench.gpu);
  using gpu = await openGpu({ measure: false });
  using built = await buildMethod({ gpu, config, workspace: "." });
  await gpu.finish();
  const ready = once("nano, CoLaR, open the device and build the method", clock(), gpu);
  using optimizer = new AdamW(gpu, built.method.parameters, { lr: 1e-4 });
  const later = startClock(gpu);
  trainingStep(gpu, built.method, optimizer);
  await gpu.finish();
  return [ready, once("nano, CoLaR, first training step: its kernels compile", later(), gpu)];
}

function once(name: string, ms: number, gpu: Gpu): MethodRow {
  const peakBytes = gpu.pool.memory.peak;
  return { group: "methods", name, ms, medianMs: ms, rounds: 1, repeats: 1, peakBytes };
}

/** Times work that waits for the device, after a first time that compiles. */
async function timed(
  { gpu, options: { rounds = 5 } }: Bench,
  name: string,
  work: () => Promise<void>,
): Promise<MethodRow> {
  await work();
  gpu.pool.resetPeak();
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const clock = startClock(gpu);
    await work();
    times.push(clock());
  }
  times.sort((a, b) => a - b);
  const [ms] = times;
  const medianMs = times[times.length >> 1];
  const peakBytes = gpu.pool.memory.peak;
  return { group: "methods", name, ms, medianMs, rounds, repeats: 1, peakBytes };
}

async function configOf(latents: number): Promise<Config> {
  const overrides = [`max_n_latent_forward=${latents}`, `max_new_tokens=${TOKENS}`];
  return (await resolveConfig({ model: "colar", overrides })).config;
}
