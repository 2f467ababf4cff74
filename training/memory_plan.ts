/**
 * How much device memory a model needs, before anything of it is loaded: its training step and its generation are run
 * on a device that only counts (gpu/planning_device.ts).
 */
import { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import { planningDevice } from "../gpu/planning_device.ts";
import type { Backbone } from "../llm/backbone.ts";
import type { ModelConfig } from "../llm/config.ts";
import { Gpt2, gpt2Tensors } from "../llm/gpt2.ts";
import { KvCache } from "../llm/kv_cache.ts";
import { Llama, llamaTensors } from "../llm/llama.ts";
import { packRows } from "../llm/tokens.ts";
import { type Precision, Weights } from "../llm/weights.ts";
import { IGNORED, languageLoss } from "../models/language_loss.ts";
import { trainBackbone, type TrainingOptions } from "../models/trained.ts";
import { logits } from "../ops/cross_entropy.ts";
import { embedding } from "../ops/embedding.ts";
import { gather } from "../ops/gather.ts";
import { AdamW } from "./adamw.ts";

/** A model to plan for, and the device. */
export interface PlannedModel {
  readonly config: ModelConfig;
  /** A tensor's type in the file, `BF16`; undefined when there is none of that name. */
  readonly storedAs: (name: string) => string | undefined;
  /** The device that is planned for. */
  readonly device: Pick<Gpu, "limits" | "info" | "isSoftware">;
}

/** What the doctor plans. */
export interface PlanRequest extends PlannedModel {
  /** Tokens of each row of a batch, those that are generated included. */
  readonly lengths: readonly number[];
  /** Rank of the adapter. */
  readonly r: number;
}

/** A training step. */
export interface PlannedStep {
  /** Tokens of each row. */
  readonly lengths: readonly number[];
  /** What is trained. */
  readonly options: TrainingOptions;
  /** Whether blocks are computed twice. */
  readonly checkpointed: boolean;
}

/** What one use of a model takes on the device, in bytes. */
export interface UsePlan {
  /** All buffers. */
  readonly bytes: number;
  /** The largest buffer. */
  readonly largestBuffer: number;
  /** The model's own largest tensor, which no choice of rows changes. */
  readonly largestTensor: number;
}

/** Plans by use. */
export interface MemoryPlan {
  /** The weights as stored. */
  readonly weights: UsePlan;
  /** A training step of the adapter with AdamW, weights included; and with blocks computed twice. */
  readonly lora: UsePlan;
  readonly loraCheckpointed: UsePlan;
  /** A training step of all of the backbone but its embeddings, likewise. */
  readonly full: UsePlan;
  readonly fullCheckpointed: UsePlan;
  /** Generation with a key/value cache, weights included. */
  readonly generation: UsePlan;
}

/**
 * Plans memory for one model.
 * @throws {RangeError} for rows longer than the model's positions.
 */
export function planMemory(request: PlanRequest): MemoryPlan {
  const { lengths, r } = request;
  const step = (do_lora: boolean, checkpointed: boolean) =>
    planStep(request, { lengths, options: optionsOf(do_lora, r), checkpointed });
  return {
    weights: measure(request, "stored", () => {}),
    lora: step(true, false),
    loraCheckpointed: step(true, true),
    full: step(false, false),
    fullCheckpointed: step(false, true),
    generation: measure(request, "stored", (backbone) => generateOnce(backbone, lengths)),
  };
}

/**
 * Plans a training step of one model.
 * @throws {RangeError} for rows longer than the model's positions.
 */
export function planStep(model: PlannedModel, step: PlannedStep): UsePlan {
  const precision = step.options.do_lora ? "stored" : "f32";
  return measure(model, precision, (backbone) => trainOnce(backbone, step));
}

/** The published way to train: an adapter of rank r, or all but the embeddings. */
export function optionsOf(do_lora: boolean, r: number): TrainingOptions {
  const lora_config = { r, lora_alpha: r, target_modules: null };
  return { do_lora, lora_config, freeze_embeddings: true };
}

function measure(
  model: PlannedModel,
  precision: Precision,
  work: (backbone: Backbone) => void,
): UsePlan {
  const { gpu, largestBuffer } = planningDevice(model.device);
  const backbone = reserved(gpu, model, precision);
  const largestTensor = largestBuffer();
  work(backbone);
  return { bytes: gpu.pool.memory.allocated, largestBuffer: largestBuffer(), largestTensor };
}

function reserved(
  gpu: Gpu,
  { config, storedAs }: PlannedModel,
  precision: Precision,
): Backbone {
  return config.model_type === "gpt2"
    ? new Gpt2(config, Weights.reserve(gpu, gpt2Tensors(config), storedAs, precision))
    : new Llama(config, Weights.reserve(gpu, llamaTensors(config), storedAs, precision));
}

/** One step of training over rows whose every token is supervised. */
export function trainOnce(
  backbone: Backbone,
  { lengths, options, checkpointed }: PlannedStep,
): void {
  const { gpu } = backbone.weights;
  backbone.checkpointsBlocks = checkpointed;
  const { parameters } = trainBackbone(backbone, options, null);
  const optimizer = new AdamW(gpu, parameters, { lr: 1e-4 });
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { draw: { seed: 0, step: 0 } });
  const tokens = packRows(scope, lengths.map((length) => ({ length })));
  const ids = new Uint32Array(tokens.positions.length);
  const { hidden } = backbone.forward(g, embedding(g, backbone.embeddings, ids), tokens);
  const labels = Array.from(tokens.positions, (position) => position === 0 ? IGNORED : 0);
  g.backward([languageLoss(g, backbone, hidden, labels)]);
  optimizer.step();
}

/** Generation: of each row all tokens but one through the cache, then one token. */
export function generateOnce(backbone: Backbone, lengths: readonly number[]): void {
  const { gpu } = backbone.weights;
  using scope = gpu.scope();
  const cache = new KvCache(scope, backbone, lengths);
  const prompts = lengths.map((length) => Math.max(1, length - 1));
  const last = lengths.map((length) => Math.min(1, length - 1));
  for (const counts of [prompts, last]) {
    using pass = gpu.scope();
    const g = new Graph(gpu, pass, { training: false });
    const parts = counts.map((length, row) => ({ row, length })).filter(({ length }) => length > 0);
    if (parts.length === 0) continue;
    const tokens = cache.extend(pass, parts);
    const ids = new Uint32Array(tokens.positions.length);
    const { hidden } = backbone.forward(g, embedding(g, backbone.embeddings, ids), tokens, {
      cache,
    });
    const ends = Uint32Array.from(tokens.offsets.subarray(1), (end) => end - 1);
    logits(g, gather(g, hidden, ends), backbone.head);
  }
}
