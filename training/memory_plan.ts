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
import { trainBackbone } from "../models/trained.ts";
import { logits } from "../ops/cross_entropy.ts";
import { embedding } from "../ops/embedding.ts";
import { gather } from "../ops/gather.ts";
import { AdamW } from "./adamw.ts";

/** What a step is over. */
export interface Rows {
  /** Rows at once. */
  readonly batchSize: number;
  /** Tokens of each row, those that are generated included. */
  readonly length: number;
  /** Rank of the adapter. */
  readonly r: number;
}

/** What is planned. */
export interface PlanRequest extends Rows {
  readonly config: ModelConfig;
  /** A tensor's type in the file, `BF16`; undefined when there is none of that name. */
  readonly storedAs: (name: string) => string | undefined;
  /** The device that is planned for. */
  readonly device: Pick<Gpu, "limits" | "info" | "isSoftware">;
}

/** Bytes on the device. */
export interface MemoryPlan {
  /** The weights as stored. */
  readonly weights: number;
  /** A training step of the adapter with AdamW, weights included; and with blocks computed twice. */
  readonly lora: number;
  readonly loraCheckpointed: number;
  /** A training step of all of the backbone but its embeddings, likewise. */
  readonly full: number;
  readonly fullCheckpointed: number;
  /** Generation with a key/value cache, weights included. */
  readonly generation: number;
  /** The largest single buffer of these. */
  readonly largestBuffer: number;
}

/**
 * Plans memory for one model.
 * @throws {RangeError} for rows longer than the model's positions.
 */
export function planMemory(request: PlanRequest): MemoryPlan {
  const buffers: number[] = [];
  const measure = (precision: Precision, work: (backbone: Backbone) => void) => {
    const { gpu, largestBuffer } = planningDevice(request.device);
    const backbone = reserved(gpu, request, precision);
    work(backbone);
    buffers.push(largestBuffer());
    return gpu.pool.memory.allocated;
  };
  const step = (do_lora: boolean, checkpointed: boolean) =>
    measure(do_lora ? "stored" : "f32", (backbone) => {
      backbone.checkpointsBlocks = checkpointed;
      trainOnce(backbone, request, do_lora);
    });
  return {
    weights: measure("stored", () => {}),
    lora: step(true, false),
    loraCheckpointed: step(true, true),
    full: step(false, false),
    fullCheckpointed: step(false, true),
    generation: measure("stored", (backbone) => generateOnce(backbone, request)),
    largestBuffer: Math.max(...buffers),
  };
}

function reserved(
  gpu: Gpu,
  { config, storedAs }: PlanRequest,
  precision: Precision,
): Backbone {
  return config.model_type === "gpt2"
    ? new Gpt2(config, Weights.reserve(gpu, gpt2Tensors(config), storedAs, precision))
    : new Llama(config, Weights.reserve(gpu, llamaTensors(config), storedAs, precision));
}

/** One step of training over rows whose every token is supervised. */
export function trainOnce(backbone: Backbone, { batchSize, length, r }: Rows, do_lora: boolean) {
  const { gpu } = backbone.weights;
  const lora_config = { r, lora_alpha: r, target_modules: null };
  const options = { do_lora, lora_config, freeze_embeddings: true };
  const { parameters } = trainBackbone(backbone, options, null);
  const optimizer = new AdamW(gpu, parameters, { lr: 1e-4 });
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const ids = new Uint32Array(batchSize * length);
  const tokens = packRows(scope, Array.from({ length: batchSize }, () => ({ length })));
  const { hidden } = backbone.forward(g, embedding(g, backbone.embeddings, ids), tokens);
  const labels = Array.from(ids, (id, i) => i % length === 0 ? IGNORED : id);
  g.backward([languageLoss(g, backbone, hidden, labels)]);
  optimizer.step();
}

/** Generation: a prompt of all tokens but one through the cache, then one token. */
export function generateOnce(backbone: Backbone, { batchSize, length }: Rows): void {
  const { gpu } = backbone.weights;
  using scope = gpu.scope();
  const cache = new KvCache(scope, backbone, Array(batchSize).fill(length));
  const rows = Array.from({ length: batchSize }, (_, row) => row);
  for (const count of [Math.max(1, length - 1), 1].slice(0, length)) {
    using pass = gpu.scope();
    const g = new Graph(gpu, pass, { training: false });
    const tokens = cache.extend(pass, rows.map((row) => ({ row, length: count })));
    const ids = new Uint32Array(batchSize * count);
    const { hidden } = backbone.forward(g, embedding(g, backbone.embeddings, ids), tokens, {
      cache,
    });
    const last = Uint32Array.from(rows, (row) => (row + 1) * count - 1);
    logits(g, gather(g, hidden, last), backbone.head);
  }
}
