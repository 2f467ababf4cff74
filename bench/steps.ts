/**
 * Whole steps: full training of the nano model (with and without block checkpointing), a LoRA step of SmolLM2-135M's
 * shape, and the decoding of one token for 64 rows; time, memory, and where the time goes.
 */
import { Graph } from "../autograd/tape.ts";
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { profileSteps, type StepProfile, type Workload } from "../io/measure.ts";
import type { LlamaConfig } from "../llm/config.ts";
import { KvCache } from "../llm/kv_cache.ts";
import type { Llama } from "../llm/llama.ts";
import { LoraAdapter } from "../llm/lora.ts";
import { packRows } from "../llm/tokens.ts";
import { crossEntropy, logits } from "../ops/cross_entropy.ts";
import { embedding } from "../ops/embedding.ts";
import { uniforms } from "../ops/random.ts";
import { sample } from "../ops/sample.ts";
import { AdamW } from "../training/adamw.ts";
import { NANO, randomLlama, SMOLLM2 } from "./models.ts";
import { type Bench, listTable, measureRows, type Row, table, type Target } from "./rows.ts";

/** A measured step. */
export interface StepRow extends Row {
  /** Most bytes in use at a time, parameters and optimizer included. */
  readonly peakBytes: number;
  readonly profile?: StepProfile;
}

const LORA = {
  r: 16,
  lora_alpha: 16,
  target_modules: "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split(" "),
};
const ROWS = 64; // that decode at a time
const CONTEXT = 64; // tokens that each of them has

/** Full training of the nano model, 32 rows of 96 tokens, all supervised. */
export async function benchTraining(bench: Bench): Promise<StepRow[]> {
  const model = await randomLlama(bench.gpu, NANO, "f32");
  using weights = model.weights;
  weights.train();
  const parameters = [...weights.entries].map(([name, tensor]) => ({ name, tensor }));
  using optimizer = new AdamW(bench.gpu, parameters, { lr: 1e-4 });
  const step = (checkpoint: boolean) => (scope: Scope) =>
    trainingStep(model, optimizer, scope, { rows: 32, length: 96, checkpoint });
  const name = "nano, full training, 32 rows of 96";
  return await benchSteps(bench, "training", [
    { name, step: step(false), target: { ms: 450 } },
    { name: `${name}, checkpointed`, step: step(true), isProfiled: false },
  ]);
}

/** A LoRA step of SmolLM2-135M's shape, one row of 128 tokens, all supervised. */
export async function benchLora(bench: Bench): Promise<StepRow[]> {
  const model = await randomLlama(bench.gpu, SMOLLM2, "stored");
  using _weights = model.weights;
  using adapter = new LoraAdapter(bench.gpu, model, LORA);
  model.adapter = adapter;
  const parameters = [...adapter.parameters].map(([name, tensor]) => ({ name, tensor }));
  using optimizer = new AdamW(bench.gpu, parameters, { lr: 1e-4 });
  return await benchSteps(bench, "lora", [{
    name: "SmolLM2-135M, LoRA 16 on 7 modules, 1 row of 128",
    step: (scope) => trainingStep(model, optimizer, scope, { rows: 1, length: 128 }),
    target: { ms: 1200 },
  }]);
}

/** One token for 64 rows that have 64: choose it from the last hidden state, then run it through the model. */
export async function benchDecoding(bench: Bench): Promise<StepRow[]> {
  const rows: StepRow[] = [];
  const models: [string, LlamaConfig, "f32" | "stored", Target][] = [
    ["nano", NANO, "f32", { ms: 8 }],
    ["SmolLM2-135M", SMOLLM2, "stored", { ms: 250 }],
  ];
  for (const [name, config, precision, target] of models.slice(0, bench.quick ? 1 : 2)) {
    const model = await randomLlama(bench.gpu, config, precision);
    using _weights = model.weights;
    const make = (scope: Scope) => decodingStep(model, scope);
    rows.push(
      ...await benchSteps(bench, "decoding", [{
        name: `${name}, a token for ${ROWS} rows of ${CONTEXT}`,
        prepare: make,
        target,
      }]),
    );
  }
  return rows;
}

interface Step {
  readonly name: string;
  readonly target?: Target;
  /** Records the step in a scope that ends with it. */
  readonly step?: (scope: Scope) => void;
  /** Makes ready what the step changes, then returns the step. */
  readonly prepare?: (scope: Scope) => (scope: Scope) => void;
  /** @default {true} */
  readonly isProfiled?: boolean;
}

async function benchSteps(bench: Bench, group: string, steps: Step[]): Promise<StepRow[]> {
  const { gpu } = bench;
  const specs = steps.map(({ name, target, step, prepare }): Workload & { target?: Target } => ({
    name,
    target,
    whole: true,
    maxRepeats: prepare ? 8 : 64,
    prepare: (outer) => {
      const run = prepare ? prepare(outer) : step!;
      return () => {
        using scope = gpu.scope();
        run(scope);
      };
    },
  }));
  const rows = (await measureRows(bench, group, specs)).slice(2);
  const result: StepRow[] = [];
  for (const [i, { step, prepare, isProfiled = true }] of steps.entries()) {
    gpu.pool.resetPeak();
    using outer = gpu.scope();
    specs[i].prepare(outer)();
    await gpu.finish();
    const peakBytes = gpu.pool.memory.peak;
    const profile = isProfiled ? await profileSteps(gpu, prepare?.(outer) ?? step!, 1) : undefined;
    result.push({ ...rows[i], peakBytes, profile });
  }
  console.log(listTable(rows));
  for (const row of result) printStep(row);
  return result;
}

function trainingStep(
  model: Llama,
  optimizer: AdamW,
  scope: Scope,
  { rows, length, checkpoint = false }: { rows: number; length: number; checkpoint?: boolean },
): void {
  const g = new Graph(model.weights.gpu, scope);
  const vocab = model.config.vocab_size;
  const ids = Uint32Array.from({ length: rows * length }, (_, i) => (i * 7919 + 13) % vocab);
  const labels = ids.map((id) => (id * 31 + 7) % vocab);
  const tokens = packRows(scope, Array.from({ length: rows }, () => ({ length })));
  const x = embedding(g, model.embeddings, ids);
  const { hidden } = model.forward(g, x, tokens, { checkpoint });
  g.backward([crossEntropy(g, hidden, model.head, labels)]);
  optimizer.step();
  optimizer.zeroGrad();
}

function decodingStep(model: Llama, outer: Scope): (scope: Scope) => void {
  const { gpu } = model.weights;
  const cache = new KvCache(outer, model, Array(ROWS).fill(CONTEXT + 1));
  for (const tensor of [...cache.keys, ...cache.values]) gpu.clear(tensor);
  cache.extend(outer, Array.from({ length: ROWS }, (_, row) => ({ row, length: CONTEXT })));
  const hidden = outer.zeros([ROWS, model.hiddenSize]);
  const keys = Uint32Array.from({ length: 2 * ROWS }, (_, i) => i >> 1);
  return (scope) => {
    const g = new Graph(gpu, scope, { training: false });
    const vocab = model.config.vocab_size;
    const u: Tensor = uniforms(g, { seed: 1, stream: 2, rows: scope.upload(keys, [ROWS, 2]) });
    const { tokens: ids } = sample(g, logits(g, hidden, model.head), u, { vocab, topP: 0.9 });
    const tokens = cache.extend(
      scope,
      Array.from({ length: ROWS }, (_, row) => ({ row, length: 1 })),
    );
    model.forward(g, embedding(g, model.embeddings, ids), tokens, { cache });
  };
}

/** Memory, and the kernels that take the most time. */
function printStep({ name, ms, peakBytes, profile }: StepRow): void {
  console.log(`\n${name}: peak ${(peakBytes / 2 ** 20).toFixed(0)} MiB`);
  if (!profile) return;
  const { kernels, busy, numDispatches } = profile;
  const sum = kernels.reduce((total, kernel) => total + kernel.ms, 0);
  console.log(
    `${numDispatches} dispatches, kernels busy ${(100 * busy).toFixed(0)} % (target >= 90 %)`,
  );
  const share = (
    part: number,
  ) => [`${(100 * part / sum).toFixed(1)} %`, (ms * busy * part / sum).toFixed(1)];
  const top = kernels.slice(0, 12);
  const rest = kernels.slice(12);
  const cells = top.map((
    kernel,
  ) => [shortName(kernel.path), `${kernel.calls}`, ...share(kernel.ms)]);
  const others = rest.reduce((total, kernel) => total + kernel.ms, 0);
  if (rest.length > 0) cells.push([`${rest.length} more`, "", ...share(others)]);
  console.log(table(["where the time goes", "calls", "share", "ms of a step"], cells));
}

/** The file's name, then what an unrolled kernel's path adds: `linear_subgroup (bf16) GROUPS=4 B_BY_K`. */
function shortName(path: string): string {
  const [, name, remark, json = "{}"] = /^kernels\/(\w+)\.wgsl ?(.*?) ?(\{.*\})?$/.exec(path) ??
    [, path, ""];
  const constants = Object.entries(JSON.parse(json)).filter(([, value]) => value !== false)
    .map(([key, value]) => value === true ? key : `${key}=${value}`);
  return [name, remark, ...constants].filter(Boolean).join(" ");
}
