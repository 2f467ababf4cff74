/** Methods on tiny untrained models that share the tokenizer of the golden tables: 600 tokens, `###` one of them. */
import { parseQsa, type QsaRow } from "../../data/qsa.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Backbone } from "../../llm/backbone.ts";
import { parseModelConfig } from "../../llm/config.ts";
import { Gpt2, gpt2Tensors } from "../../llm/gpt2.ts";
import { initialWeights } from "../../llm/initialise.ts";
import { Llama, llamaTensors } from "../../llm/llama.ts";
import { Weights } from "../../llm/weights.ts";
import { Colar } from "../../models/colar.ts";
import type { ColarOptions } from "../../models/colar_options.ts";
import { Cot, type CotOptions } from "../../models/cot.ts";
import { addPadRow } from "../../models/vocabulary.ts";
import { golden, methodsTokenizer } from "../methods_text.ts";

/** Architectures that have a tiny model. */
export type Architecture = "llama" | "gpt2";

/** `latent_cot_config` and so on, flattened: any key of CoLaR's options by its last part. */
export type ColarChanges =
  & Partial<ColarOptions["latent_cot_config"]>
  & Partial<ColarOptions["latent_generation_config"]>
  & Partial<ColarOptions["answer_generation_config"]>
  & Partial<ColarOptions["latent_policy_config"]>
  & Partial<ColarOptions["rl_config"]>
  & Partial<Pick<ColarOptions, "do_lora" | "freeze_embeddings" | "do_rl">>;

const COMMON = {
  vocab_size: 600,
  initializer_range: 0.2,
};
const CONFIGS = {
  llama: {
    ...COMMON,
    model_type: "llama",
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 512,
    tie_word_embeddings: true,
  },
  gpt2: {
    ...COMMON,
    model_type: "gpt2",
    n_embd: 32,
    n_layer: 2,
    n_head: 4,
    n_positions: 512,
  },
};

/** How chained latents are thought unless a key says otherwise. */
export const AS_TRAINED = {
  n_latent_forward: "trained",
  max_n_latent_forward: 64,
  compression_factor: "auto",
  eol_temperature: 1,
} as const;

/** Six rows of GSM8k-Aug. */
export async function sixRows(): Promise<QsaRow[]> {
  return parseQsa(await golden("rows"), "rows.json");
}

/** A tiny model without [PAD]'s row. */
export async function tinyBackbone(
  gpu: Gpu,
  architecture: Architecture = "llama",
  changes: Record<string, unknown> = {},
): Promise<Backbone> {
  const config = parseModelConfig({ ...CONFIGS[architecture], ...changes }, "tiny");
  const specs = config.model_type === "gpt2" ? gpt2Tensors(config) : llamaTensors(config);
  const weights = await Weights.load(gpu, specs, initialWeights(specs, 0.2, 5));
  return config.model_type === "gpt2" ? new Gpt2(config, weights) : new Llama(config, weights);
}

/** CoT on a tiny model. */
export async function tinyCot(
  gpu: Gpu,
  changes: Partial<CotOptions> = {},
  architecture: Architecture = "llama",
): Promise<Cot> {
  const options = {
    ...modelOptions({ max_new_tokens: 12 }),
    ...changes,
  };
  return new Cot({
    ...await context(gpu, architecture),
    options: options as CotOptions,
    reasoningLength: "exact",
  });
}

/** CoLaR on a tiny model. */
export async function tinyColar(
  gpu: Gpu,
  changes: ColarChanges = {},
  architecture: Architecture = "llama",
): Promise<Colar> {
  const reasoningLength = "exact" as const;
  const options = colarOptions(changes);
  return new Colar({ ...await context(gpu, architecture), options, reasoningLength }, 0.2);
}

/** CoLaR on a tiny model with a head of its own, in which some tokens are now and then the most probable ones. */
export async function likelyColar(
  gpu: Gpu,
  changes: ColarChanges,
  likely: (tokenizer: Colar["tokenizer"]) => readonly number[],
): Promise<Colar> {
  const untied = await context(gpu, "llama", UNTIED);
  const options = colarOptions(changes);
  const method = new Colar({ ...untied, options, reasoningLength: "exact" }, 0.2);
  await makeLikely(gpu, method.backbone, likely(method.tokenizer));
  return method;
}

/** Makes some tokens now and then the most probable ones of a model whose head is its own. */
export async function makeLikely(
  gpu: Gpu,
  { head, hiddenSize: D }: Backbone,
  ids: readonly number[],
): Promise<void> {
  const table = await gpu.read(head);
  for (const id of ids) {
    for (let i = id * D; i < (id + 1) * D; i++) table[i] *= 5;
  }
  gpu.write(head, table);
}

/** A tiny model whose head is its own. */
export const UNTIED = { tie_word_embeddings: false } as const;

/** Every key of CoLaR with its value under `profile: corrected`. */
export function colarOptions(changes: ColarChanges = {}): ColarOptions {
  return {
    ...modelOptions(changes),
    embeds_std: 0.2,
    latent_cot_config: {
      max_compression_factor: 5,
      replace_r_with_auto_prob: 0,
      pred_compressed_cot: true,
      sqrt_mean: true,
      ce_weight: 1,
      embed_modeling_loss: "mse",
      embed_modeling_weight: 1,
      entropy_weight: 0,
      pred_embed_forward_weight: 0,
      layout: "clean",
      mask_separator_label: false,
      second_pass_scale: "embeds_std",
      second_pass_index: "clean",
      second_pass_labels: "answer",
      ...changes,
    },
    latent_generation_config: {
      max_n_latent_forward: 6,
      n_latent_forward: null,
      compression_factor: 5,
      latent_temperature: 1,
      eol_temperature: 1,
      ...changes,
    },
    latent_policy_config: { lp_intermediate_size: 40, lp_deterministic: false, ...changes },
    do_rl: changes.do_rl ?? false,
    rl_config: {
      use_latent_loss: true,
      use_answer_loss: true,
      continue_decisions: true,
      latent_logprob: "mean",
      random_speed_in_group: false,
      ...changes,
    },
  };
}

/** What `profile: released` does where CoLaR's loss is concerned. */
export const RELEASED = {
  layout: "as-released",
  second_pass_scale: "as-released",
  second_pass_index: "as-released",
  second_pass_labels: "steps_and_answer",
} as const;

/** Keys that every method has. */
export function modelOptions(changes: ColarChanges) {
  return {
    model_id: "tiny",
    do_lora: changes.do_lora ?? true,
    lora_config: { r: 4, lora_alpha: 8, target_modules: null },
    freeze_embeddings: changes.freeze_embeddings ?? true,
    answer_generation_config: {
      max_new_tokens: 10,
      do_sample: true,
      temperature: 1,
      top_p: 0.9,
      top_k: 0,
      pad_in_answer: false,
      ...changes,
    },
  };
}

/** A tiny model with its tokenizer, as methods are built from. */
export async function context(
  gpu: Gpu,
  architecture: Architecture,
  changes: Record<string, unknown> = {},
) {
  const tokenizer = await methodsTokenizer();
  const backbone = await tinyBackbone(gpu, architecture, changes);
  await addPadRow(backbone, tokenizer, 3);
  return { gpu, backbone, tokenizer, seed: 7 };
}
