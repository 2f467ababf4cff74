/**
 * The keys of a configuration and what each takes, by model; defaults and meanings stand in configs/.
 *
 * Paths are those of the published configuration where it has the key, so that published command lines work.
 * What is never read does not exist: a new key is a line here, a line with its meaning in configs/, and its reader.
 */
import {
  boolean,
  commaList,
  either,
  type Infer,
  integer,
  type Kind,
  list,
  nothing,
  number,
  oneOf,
  text,
} from "./config_kinds.ts";
import { profile, SWITCHES } from "./config_profile.ts";

const COMMON = {
  seed: integer(0),
  profile,
  trainer: {
    max_epochs: integer(1),
    max_steps: either(integer(1), nothing),
    accumulate_grad_batches: integer(1),
    gradient_clip_val: either(number({ above: 0 }), nothing),
    check_val_every_n_epoch: integer(1),
  },
  callbacks: { monitor: text, mode: oneOf("max", "min"), save_top_k: integer(0) },
  dataloader: { batch_size: integer(1), val_batch_size: integer(1) },
  evaluation: {
    test_times: integer(1),
    protocol: SWITCHES.protocol,
    interval: SWITCHES.interval,
    reasoning_length: SWITCHES.reasoning_length,
    latents_on_correct: SWITCHES.latents_on_correct,
  },
} as const;

const DATA = {
  data_module: {
    dataset_name: text,
    n_train: either(integer(1), nothing),
    n_val: either(integer(1), nothing),
    n_test: either(integer(1), nothing),
    tiny_dataset: boolean,
    epoch_scaling: number({ above: 0 }),
  },
} as const;

const BACKBONE = {
  model_id: text,
  do_lora: boolean,
  lora_config: {
    r: integer(1),
    lora_alpha: number({ above: 0 }),
    target_modules: either(list(text), nothing),
  },
  freeze_embeddings: boolean,
  answer_generation_config: {
    max_new_tokens: integer(1),
    do_sample: boolean,
    temperature: number({ above: 0 }),
    top_p: number({ above: 0, to: 1 }),
    top_k: SWITCHES.top_k,
    pad_in_answer: SWITCHES.pad_in_answer,
  },
} as const;

const TRAINING = {
  optimizer: { lr: number({ above: 0 }), weight_decay: number({ from: 0 }) },
  scheduler: { schedule: oneOf("constant", "linear", "cosine"), warmup_steps: integer(0) },
} as const;

// How large a speed may be depends on max_compression_factor: config.ts checks its bounds.
const speed: Kind<number | "auto"> = {
  rule: "an integer from 1 or auto",
  types: ["number", "string"],
  accepts: (value): value is number | "auto" => value === "auto" || Number.isSafeInteger(value),
};
const speeds: Kind<number | string | readonly (number | "auto")[]> = {
  ...either(speed, commaList, list(speed)),
  rule: "an integer from 1, auto or a list of these",
};

const factors = {
  ...either(integer(1), commaList, list(integer(1))),
  rule: "an integer from 1 or several, as in 1,3,5",
};

const COT = {
  target: oneOf("models/cot.ts"),
  model_kwargs: { ...BACKBONE, empty_steps: SWITCHES.empty_steps },
  training_kwargs: TRAINING,
} as const;

const COLAR = {
  target: oneOf("models/colar.ts"),
  start: oneOf("cot", "none"),
  model_kwargs: {
    ...BACKBONE,
    embeds_std: either(number({ above: 0 }), oneOf("auto")),
    latent_cot_config: {
      max_compression_factor: factors,
      replace_r_with_auto_prob: number({ from: 0, to: 1 }),
      pred_compressed_cot: boolean,
      sqrt_mean: SWITCHES.sqrt_mean,
      ce_weight: number({ from: 0 }),
      embed_modeling_loss: oneOf("mse", "nll"),
      embed_modeling_weight: number({ from: 0 }),
      entropy_weight: number(),
      pred_embed_forward_weight: number({ from: 0 }),
      layout: SWITCHES.layout,
      mask_separator_label: SWITCHES.mask_separator_label,
      second_pass_scale: SWITCHES.second_pass_scale,
      second_pass_index: SWITCHES.second_pass_index,
      second_pass_labels: SWITCHES.second_pass_labels,
    },
    latent_generation_config: {
      max_n_latent_forward: integer(1),
      compression_factor: speeds,
      latent_temperature: number({ from: 0 }),
      eol_temperature: number({ above: 0 }),
    },
    latent_policy_config: { lp_intermediate_size: integer(1), lp_deterministic: boolean },
  },
  training_kwargs: TRAINING,
} as const;

/** The keys of each model's configuration, by what its YAML file names as `target`. */
export const SCHEMAS = {
  "models/cot.ts": { ...COMMON, ...DATA, model: COT },
  "models/colar.ts": { ...COMMON, ...DATA, model: COLAR },
} as const;

/** What CoT's constructor is given. */
export type CotConfig = Infer<typeof COT>;

/** What CoLaR's constructor is given. */
export type ColarConfig = Infer<typeof COLAR>;

/** A run's configuration with every switch resolved; `model.target` tells the models apart. */
export type Config = Infer<typeof COMMON> & Infer<typeof DATA> & {
  readonly model: CotConfig | ColarConfig;
};

/** Keys of the published configuration that are none here, and what to do instead. */
export const ELSEWHERE: Readonly<Record<string, string>> = {
  devices: "it is an option: --devices",
  sft_method: "--model names the method",
  use_scheduler: "set schedule=constant, linear or cosine",
  precision: "sums are float32, weights keep the type of their file",
};

/** Published spellings that keep working, and the key that each sets. */
export const ALIASES: Readonly<Record<string, string>> = { lp_determinisitc: "lp_deterministic" };
