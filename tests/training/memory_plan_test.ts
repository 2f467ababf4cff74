/** Plans of memory: buffer for buffer what the real device gives out, and sensible for the models that we name. */
import assert from "node:assert/strict";
import { Gpu } from "../../gpu/device.ts";
import type { HalfData } from "../../gpu/tensor.ts";
import type { Backbone } from "../../llm/backbone.ts";
import { type LlamaConfig, type ModelConfig, parseModelConfig } from "../../llm/config.ts";
import { Gpt2, gpt2Tensors } from "../../llm/gpt2.ts";
import { initialWeights } from "../../llm/initialise.ts";
import { Llama, llamaTensors } from "../../llm/llama.ts";
import { type Precision, Weights, type WeightSource } from "../../llm/weights.ts";
import {
  generateOnce,
  optionsOf,
  planMemory,
  planStep,
  trainOnce,
} from "../../training/memory_plan.ts";
import { gpuTest } from "../check_op.ts";
import { narrowed } from "../narrowed.ts";

const LLAMA = parseModelConfig({
  model_type: "llama",
  vocab_size: 300,
  hidden_size: 48,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 128,
}, "llama") as LlamaConfig;
const QWEN2: LlamaConfig = { ...LLAMA, model_type: "qwen2", qkv_bias: true };
const GPT2 = parseModelConfig(
  { model_type: "gpt2", vocab_size: 300, n_embd: 48, n_layer: 2, n_head: 4, n_positions: 128 },
  "gpt2",
);
const ALL = "all-linear" as const;
const lengths = [21, 21, 21];
const rows = { lengths, r: 4 };

/** The same step on a real device as in a plan. */
const step = (do_lora: boolean, checkpointed = false) => (backbone: Backbone) =>
  trainOnce(backbone, { lengths, options: optionsOf(do_lora, rows.r), checkpointed });
const generation = (backbone: Backbone) => generateOnce(backbone, lengths);

/** A source as a file of another type has it. */
function storedAs(dtype: string, source: WeightSource): WeightSource {
  return {
    ...source,
    info: (name) => ({ ...source.info(name)!, dtype }),
    readHalf: async (name) => {
      const { data } = narrowed(await source.readFloat32(name), dtype === "F16" ? "f16" : "bf16");
      return data as HalfData;
    },
  };
}

/** All buffers by use. */
const bytesOf = (plan: ReturnType<typeof planMemory>) =>
  Object.fromEntries(Object.entries(plan).map(([use, { bytes }]) => [use, bytes]));

/** Bytes that a fresh device gives out for the work itself. */
async function real(
  config: ModelConfig,
  work: (backbone: Backbone) => void,
  dtype = "F32",
  precision: Precision = "stored",
): Promise<number> {
  using gpu = await Gpu.open();
  const specs = config.model_type === "gpt2" ? gpt2Tensors(config) : llamaTensors(config);
  const weights = await Weights.load(gpu, specs, storedAs(dtype, initialWeights(specs, 0.02, 0)), {
    precision,
  });
  work(config.model_type === "gpt2" ? new Gpt2(config, weights) : new Llama(config, weights));
  await gpu.finish();
  return gpu.pool.memory.allocated;
}

for (const [name, config] of Object.entries({ LLAMA, QWEN2, GPT2 })) {
  gpuTest(`planMemory() of a small ${name}: what the device gives out`, async (device) => {
    const plan = planMemory({ config, storedAs: () => "F32", device, ...rows });
    const measured = {
      weights: await real(config, () => {}),
      lora: await real(config, step(true)),
      loraCheckpointed: await real(config, step(true, true)),
      full: await real(config, step(false)),
      fullCheckpointed: await real(config, step(false, true)),
      generation: await real(config, generation),
    };
    assert.deepEqual(bytesOf(plan), measured);
    const table = 300 * 48 * 4;
    assert.deepEqual(plan.weights, {
      bytes: measured.weights,
      largestBuffer: table,
      largestTensor: table,
    });
    const logits = 3 * 20 * 300 * 4; // of the tokens that are followed by one
    assert.deepEqual([plan.lora.largestBuffer, plan.full.largestBuffer], [logits, logits]);
    assert.equal(plan.generation.largestBuffer, table, "three rows' last logits are smaller");
  });
}

for (const dtype of ["BF16", "F16"]) {
  gpuTest(
    `planMemory() of a small GPT-2 in ${dtype}: its matrices keep 16 bits`,
    async (device) => {
      const plan = planMemory({ config: GPT2, storedAs: () => dtype, device, ...rows });
      const measured = {
        weights: await real(GPT2, () => {}, dtype),
        lora: await real(GPT2, step(true), dtype),
        full: await real(GPT2, step(false), dtype, "f32"),
        generation: await real(GPT2, generation, dtype),
      };
      assert.deepEqual({ ...bytesOf(plan), ...measured }, bytesOf(plan));
      assert.equal(2 * plan.lora.largestTensor, plan.full.largestTensor, "the table, f32 in full");
      const wide = planMemory({ config: GPT2, storedAs: () => "F32", device, ...rows });
      assert.deepEqual(plan.full, wide.full);
      const [weights, wider] = [plan.weights.bytes, wide.weights.bytes];
      assert.ok(weights < 0.6 * wider, `${weights} and ${wider}`);
    },
  );
}

gpuTest(
  "planMemory() of Llama-3.2-1B: the weights are 2.3 GiB, and each order is right",
  (device) => {
    const config: LlamaConfig = {
      ...LLAMA,
      vocab_size: 128256,
      hidden_size: 2048,
      intermediate_size: 8192,
      num_hidden_layers: 16,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      head_dim: 64,
      tie_word_embeddings: true,
      max_position_embeddings: 131072,
    };
    const request = { config, storedAs: () => "BF16", device, r: 128 };
    const planned = (batchSize: number) =>
      bytesOf(planMemory({ ...request, lengths: Array(batchSize).fill(256) }));
    const plan = planned(8);
    const bytes = 2 * 1235814400; // parameters of the model's card, 16 bits each
    assert.ok(plan.weights > bytes && plan.weights < 1.05 * bytes, `${plan.weights}`);
    const { generation, loraCheckpointed, lora, fullCheckpointed, full } = plan;
    const order = [plan.weights, generation, loraCheckpointed, lora, fullCheckpointed, full];
    assert.deepEqual(order, order.toSorted((a, b) => a - b));
    const longer = planned(16);
    const activations = longer.lora - plan.lora;
    assert.ok(Math.abs(activations / (lora - generation) - 1) < 0.3, "activations double");
    return Promise.resolve();
  },
);

gpuTest(
  "planStep(): rows of their own lengths, and what of the adapter is trained",
  async (device) => {
    const model = { config: LLAMA, storedAs: () => "F32", device };
    const lora_config = { r: 2, lora_alpha: 2, target_modules: ALL, lora_dropout: 0.5 };
    const options = { ...optionsOf(true, 2), lora_config };
    const own = { lengths: [3, 17, 1, 9], options, checkpointed: false };
    const { bytes } = planStep(model, own);
    assert.equal(bytes, await real(LLAMA, (backbone) => trainOnce(backbone, own)));
    const fewer = planStep(model, { ...own, options: optionsOf(true, 2) });
    assert.ok(fewer.bytes < bytes, "PEFT's targets are two of seven modules");
  },
);
