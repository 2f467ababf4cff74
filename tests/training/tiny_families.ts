/**
 * A tiny random model of each family as the Hub keeps it: types, key names, shards, tables and buffers of published
 * ones, written without the code that reads them, under the embedded model's tokenizer.
 */
import { join } from "node:path";
import { float32ToBfloat16 } from "../../io/float16.ts";
import { type TensorData, writeSafetensors } from "../../io/safetensors.ts";
import { loadTokenizer } from "../../io/tokenizer.ts";
import { parseModelConfig } from "../../llm/config.ts";
import { gpt2Tensors } from "../../llm/gpt2.ts";
import { llamaTensors } from "../../llm/llama.ts";
import type { TensorSpec } from "../../llm/weights.ts";
import { normals } from "../random.ts";

const NANO = new URL("../../assets/nano", import.meta.url).pathname;

/** How a family's folder differs from others. */
export interface Family {
  /** Of config.json, over what all have. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly dtype: "F32" | "BF16";
  /** What stands before every name. @default {nothing} */
  readonly prefix?: string;
  /** Files that the tensors are spread over. @default {1} */
  readonly numShards?: number;
  /** Rows of the tables beyond the tokenizer's own tokens; [PAD] takes the first. @default {0} */
  readonly numSpareRows?: number;
  /** GPT-2's causal masks, which its first files hold. @default {false} */
  readonly hasMasks?: boolean;
}

const ROTARY = {
  hidden_act: "silu",
  hidden_size: 16,
  intermediate_size: 24,
  num_attention_heads: 2,
  num_hidden_layers: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
};
const LLAMA = { architectures: ["LlamaForCausalLM"], model_type: "llama", ...ROTARY };
const GPT2 = {
  ...{ architectures: ["GPT2LMHeadModel"], model_type: "gpt2", activation_function: "gelu_new" },
  ...{ n_embd: 16, n_layer: 2, n_head: 2, n_positions: 256, n_ctx: 256, layer_norm_epsilon: 1e-5 },
};

/** By what is particular to each. */
export const FAMILIES = {
  "Llama 3.2: grouped queries, tied, bfloat16, scaled rotary positions": {
    config: {
      ...LLAMA,
      rope_scaling: {
        ...{ rope_type: "llama3", factor: 32, low_freq_factor: 1, high_freq_factor: 4 },
        original_max_position_embeddings: 64,
      },
      rope_theta: 500000,
      tie_word_embeddings: true,
    },
    dtype: "BF16",
  },
  "Llama: a head of its own, float32, in three shards": {
    config: { ...LLAMA, num_key_value_heads: 2, rope_theta: 10000, tie_word_embeddings: false },
    dtype: "F32",
    numShards: 3,
  },
  "Qwen2: biases, bfloat16, tables with spare rows": {
    config: {
      ...ROTARY,
      ...{ architectures: ["Qwen2ForCausalLM"], model_type: "qwen2", rope_theta: 1000000 },
      ...{ tie_word_embeddings: false, use_sliding_window: false, sliding_window: 4096 },
    },
    dtype: "BF16",
    numSpareRows: 7,
  },
  "GPT-2: names behind transformer.": { config: GPT2, dtype: "F32", prefix: "transformer." },
  "GPT-2: plain names, with masks": { config: GPT2, dtype: "F32", hasMasks: true },
} as const satisfies Record<string, Family>;

/** The name of a family. */
export type FamilyName = keyof typeof FAMILIES;

/**
 * Writes a family's folder.
 * @returns its path
 */
export async function familyFolder(parent: string, family: Family): Promise<string> {
  const { config, dtype, numShards = 1, numSpareRows = 0 } = family;
  const folder = join(parent, String(config.model_type));
  await Deno.mkdir(folder);
  const { padId, eosId } = await loadTokenizer(NANO);
  const json = {
    ...config,
    eos_token_id: eosId,
    initializer_range: 0.05,
    torch_dtype: dtype === "F32" ? "float32" : "bfloat16",
    vocab_size: padId + numSpareRows,
  };
  await Deno.writeTextFile(join(folder, "config.json"), JSON.stringify(json));
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(join(NANO, file), join(folder, file));
  }
  const parsed = parseModelConfig(json, folder);
  const specs = parsed.model_type === "gpt2" ? gpt2Tensors(parsed) : llamaTensors(parsed);
  const tensors = specs.map((spec, i) => tensorOf(spec, i, family));
  if (family.hasMasks) tensors.push(...masks(config));
  if (numShards === 1) {
    await writeSafetensors(join(folder, "model.safetensors"), new Map(tensors));
    return folder;
  }
  const weight_map: Record<string, string> = {};
  for (let shard = 0; shard < numShards; shard++) {
    const file = `model-0000${shard + 1}-of-0000${numShards}.safetensors`;
    const own = tensors.filter((_, i) => i % numShards === shard);
    await writeSafetensors(join(folder, file), new Map(own));
    for (const [name] of own) weight_map[name] = file;
  }
  const index = JSON.stringify({ metadata: { total_size: 0 }, weight_map });
  await Deno.writeTextFile(join(folder, "model.safetensors.index.json"), index);
  return folder;
}

function tensorOf(
  { name, shape }: TensorSpec,
  seed: number,
  { dtype, prefix = "" }: Family,
): [string, TensorData] {
  const size = shape.reduce((a, b) => a * b, 1);
  const isNorm = /(norm|ln_\w)\.weight$/.test(name);
  const data = normals(1 + seed, size, 0.2).map((x) => isNorm ? 1 + x : x);
  const form = dtype === "F32"
    ? { dtype, shape, data: data as Float32Array<ArrayBuffer> }
    : { dtype, shape, data: float32ToBfloat16(data) };
  return [prefix + name, form];
}

/** [1, 1, P, P] of each block, ones on and below the diagonal; and what is put where they are zero. */
function masks({ n_layer, n_positions: P }: Family["config"]): [string, TensorData][] {
  const size = Number(P);
  const data = Float32Array.from({ length: size * size }, (_, i) => +(i % size <= i / size));
  return Array.from({ length: Number(n_layer) }, (_, i): [string, TensorData][] => [
    [`h.${i}.attn.bias`, { dtype: "F32", shape: [1, 1, size, size], data }],
    [`h.${i}.attn.masked_bias`, { dtype: "F32", shape: [], data: Float32Array.of(-1e4) }],
  ]).flat();
}
