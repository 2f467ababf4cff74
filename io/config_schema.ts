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
  numbersByName,
  oneOf,
  type Schema,
  since,
  speedList,
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
    activation_checkpointing: boolean,
    check_val_every_n_epoch: integer(1),
  },
  callbacks: { monitor: text, mode: oneOf("max", "min"), save_top_k: integer(0) },
  dataloader: { batch_size: integer(1), val_batch_size: integer(1) },
  evaluation: {
    test_times: integer(1),
    answer_tolerance: since(either(number({ above: 0 }), nothing), null),
    protocol: SWITCHES.protocol,
    interval: SWITCHES.interval,
    reasoning_length: SWITCHES.reasoning_length,
    latents_on_correct: SWITCHES.latents_on_correct,
  },
} as const;

const DATA = {
  data_module: {
    dataset_name: text,
    source: since(either(text, nothing), null),
    test_split: since(oneOf("test", "all"), "test"),
    gsm8k_steps: since(SWITCHES.gsm8k_steps, "equations"),
    question_text: since(SWITCHES.question_text, "tidy"),
    boxed_answer: since(SWITCHES.boxed_answer, "balanced"),
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
    target_modules: either(list(text), oneOf("all-linear"), nothing),
    use_rslora: since(boolean, false),
    rank_pattern: since(numbersByName, {}),
    alpha_pattern: since(numbersByName, {}),
    lora_dropout: since(number({ from: 0, below: 1 }), 0),
  },
  freeze_embeddings: boolean,
  pad_row: since(oneOf("drawn", "mean"), "drawn"),
  separator_tokens: since(SWITCHES.separator_tokens, "as-released"),
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

// A prompt may name any speed, trained or not: 1.5, or 8 where 5 is the largest factor of training.
const speed: Kind<number | "auto"> = either(number({ above: 0 }), oneOf("auto"));
const speeds: Kind<number | string | readonly (number | "auto")[]> = {
  ...either(speed, speedList, list(speed)),
  rule: "a number above 0, auto or several of these, as in 1.5,8",
};

const factors = {
  ...either(integer(1), commaList, list(integer(1))),
  rule: "an integer from 1 or several, as in 1,3,5",
};

const groupSize = {
  ...integer(2),
  rule: "an integer from 2, since an advantage is over the others of a group",
};

const COT = {
  target: oneOf("models/cot.ts"),
  model_kwargs: BACKBONE,
  training_kwargs: TRAINING,
} as const;

/** Keys that reinforcement reads of a method's `rl_config`, whatever its policy is. */
export const REINFORCEMENT = {
  n_train_samples_per_epoch: integer(1),
  resample_each_epoch: SWITCHES.resample_each_epoch,
  filter_dataset: boolean,
  group_size: groupSize,
  punish_latent_length: boolean,
  zero_equal_advantage: SWITCHES.zero_equal_advantage,
  exp_batch_size: integer(1),
  clip_eps: number({ above: 0 }),
  clip_grad_norm: number({ above: 0 }),
  average_per_token_loss: SWITCHES.average_per_token_loss,
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
      n_latent_forward: either(integer(1), nothing),
      compression_factor: speeds,
      latent_temperature: number({ from: 0 }),
      eol_temperature: number({ above: 0 }),
    },
    latent_policy_config: { lp_intermediate_size: integer(1), lp_deterministic: boolean },
    do_rl: boolean,
    rl_config: {
      ...REINFORCEMENT,
      random_speed_in_group: boolean,
      use_latent_loss: boolean,
      use_answer_loss: boolean,
      latent_logprob: SWITCHES.latent_logprob,
      continue_decisions: SWITCHES.continue_decisions,
    },
  },
  training_kwargs: TRAINING,
} as const;

// What came after the methods: a configuration from before thought as it was trained.
const CHAIN_GENERATION = {
  n_latent_forward: since(either(oneOf("trained"), integer(1), nothing), "trained"),
  max_n_latent_forward: since(integer(1), 64),
  compression_factor: since(speeds, "auto"),
  eol_temperature: since(number({ above: 0 }), 1),
} as const;

const STAGES = {
  stage_rule: SWITCHES.stage_rule,
  n_epochs_per_stage: integer(1),
  n_initial_epochs: integer(0),
  max_n_stage: integer(1),
  stage_ends: either(list(number({ above: 0, to: 1 })), nothing),
  label_pads: SWITCHES.label_pads,
  supervise_transition: SWITCHES.supervise_transition,
  final_newline: SWITCHES.final_newline,
  position_ids: SWITCHES.position_ids,
} as const;

const ICOT = {
  target: oneOf("models/icot.ts"),
  start: oneOf("cot", "none"),
  model_kwargs: {
    ...BACKBONE,
    icot_config: { ...STAGES, icot_prompt: SWITCHES.icot_prompt },
  },
  training_kwargs: TRAINING,
} as const;

const COCONUT = {
  target: oneOf("models/coconut.ts"),
  start: oneOf("cot", "none"),
  model_kwargs: {
    ...BACKBONE,
    coconut_config: { ...STAGES, n_latents_per_step: integer(1) },
    latent_generation_config: {
      cache_in_latent_loop: SWITCHES.cache_in_latent_loop,
      ...CHAIN_GENERATION,
    },
  },
  training_kwargs: TRAINING,
} as const;

const DISTILL = {
  target: oneOf("models/distill.ts"),
  start: oneOf("cot", "none"),
  model_kwargs: {
    ...BACKBONE,
    distill_config: {
      n_latents: integer(1),
      distill_proj: boolean,
      proj_layer_norm: boolean,
      distill_loss_div_std: boolean,
      include_last_cot: boolean,
      alpha: number({ from: 0 }),
      beta: number({ from: 0 }),
      gamma: number({ from: 0 }),
      label_pads: SWITCHES.label_pads,
      supervise_transition: SWITCHES.supervise_transition,
      position_ids: SWITCHES.position_ids,
    },
    latent_generation_config: {
      cache_in_latent_loop: SWITCHES.cache_in_latent_loop,
      ...CHAIN_GENERATION,
    },
  },
  training_kwargs: TRAINING,
} as const;

const CODI = {
  target: oneOf("models/codi.ts"),
  start: oneOf("cot", "none"),
  model_kwargs: {
    ...BACKBONE,
    codi_config: {
      num_latent: integer(1),
      use_prj: boolean,
      prj_dim: either(integer(1), nothing),
      prj_no_ln: boolean,
      include_last_cot: boolean,
      distill_loss_div_std: boolean,
      distill_loss_factor: number({ from: 0 }),
      ref_loss_factor: number({ from: 0 }),
    },
    latent_generation_config: CHAIN_GENERATION,
  },
  training_kwargs: TRAINING,
} as const;

/** The keys of each model's configuration, by what its YAML file names as `target`. */
export const SCHEMAS = {
  "models/cot.ts": { ...COMMON, ...DATA, model: COT },
  "models/colar.ts": { ...COMMON, ...DATA, model: COLAR },
  "models/distill.ts": { ...COMMON, ...DATA, model: DISTILL },
  "models/codi.ts": { ...COMMON, ...DATA, model: CODI },
  "models/icot.ts": { ...COMMON, ...DATA, model: ICOT },
  "models/coconut.ts": { ...COMMON, ...DATA, model: COCONUT },
} as const;

/**
 * The keys of a method that is none of the project's: what every method has, and its own.
 * @param target the file that it is in
 * @param options its own keys, of `model_kwargs`
 * @throws {RangeError} when one of them is a key of every method, or `do_rl` is there without what it reads.
 */
export function ownSchema(target: string, options: Schema): Schema {
  const taken = Object.keys(options).find((key) => Object.hasOwn(BACKBONE, key));
  if (taken !== undefined) {
    throw new RangeError(`${target}: options.${taken} is a key of every method; rename it`);
  }
  const { do_rl, rl_config = {} } = options;
  const unread = Object.keys(REINFORCEMENT).find((key) => !Object.hasOwn(rl_config, key));
  if (do_rl !== undefined && unread !== undefined) {
    throw new RangeError(
      `${target}: options.do_rl is there, but options.rl_config has no ${unread}; ` +
        "take all of REINFORCEMENT in io/config_schema.ts",
    );
  }
  const model_kwargs = { ...BACKBONE, ...options };
  const model = { target: oneOf(target), start: oneOf("cot", "none"), model_kwargs };
  return { ...COMMON, ...DATA, model: { ...model, training_kwargs: TRAINING } };
}

/** What CoT's constructor is given. */
export type CotConfig = Infer<typeof COT>;

/** What CoLaR's constructor is given. */
export type ColarConfig = Infer<typeof COLAR>;

/** What iCoT's constructor is given. */
export type IcotConfig = Infer<typeof ICOT>;

/** What Coconut's constructor is given. */
export type CoconutConfig = Infer<typeof COCONUT>;

/** What Distill's constructor is given. */
export type DistillConfig = Infer<typeof DISTILL>;

/** What CODI's constructor is given. */
export type CodiConfig = Infer<typeof CODI>;

/**
 * A run's configuration with every switch resolved; `model.target` tells the models apart. A method of one's own, which
 * is none of the union, has the keys that all of it share, and its own, which only it reads.
 */
export type Config = Infer<typeof COMMON> & Infer<typeof DATA> & {
  readonly model:
    | CotConfig
    | ColarConfig
    | IcotConfig
    | CoconutConfig
    | DistillConfig
    | CodiConfig;
};

/** Keys of the published configuration that are none here, and what to do instead. */
export const ELSEWHERE: Readonly<Record<string, string>> = {
  devices: "it is an option: --devices",
  sft_method: "--model names the method",
  use_scheduler: "set schedule=constant, linear or cosine",
  precision: "sums are float32, weights keep the type of their file",
};

/** Keys of one method that others are asked for, and why these have them not. */
export const ONLY_THERE: Readonly<Record<string, string>> = {
  latent_temperature:
    "latent_temperature is CoLaR's alone, whose latents are drawn: those of Coconut, " +
    "Distill and CODI are hidden states, fed as they are, and cot and icot have none",
};

/** Published spellings that keep working, and the key that each sets. */
export const ALIASES: Readonly<Record<string, string>> = { lp_determinisitc: "lp_deterministic" };
