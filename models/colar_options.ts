/** What CoLaR is built from: `model.model_kwargs` of the configuration; configs/models/colar.yaml says what keys mean. */
import type { AnswerGeneration } from "./answering.ts";
import type { GroupLayout, SpeedSetting } from "./compression.ts";
import type { LatentCount } from "./latent_generate.ts";
import type { TrainingOptions } from "./trained.ts";

/** How a batch becomes a loss. */
export interface LatentCotOptions {
  readonly max_compression_factor: number | string | readonly number[];
  readonly replace_r_with_auto_prob: number;
  readonly pred_compressed_cot: boolean;
  readonly sqrt_mean: boolean;
  readonly ce_weight: number;
  readonly embed_modeling_loss: "mse" | "nll";
  readonly embed_modeling_weight: number;
  readonly entropy_weight: number;
  readonly pred_embed_forward_weight: number;
  readonly layout: GroupLayout;
  readonly mask_separator_label: boolean;
  readonly second_pass_scale: "as-released" | "embeds_std";
  readonly second_pass_index: "as-released" | "clean";
  readonly second_pass_labels: "steps_and_answer" | "answer";
}

/** How it thinks. */
export interface LatentGenerationOptions extends LatentCount {
  readonly compression_factor: SpeedSetting;
  readonly latent_temperature: number;
}

/** What reinforcement draws, and which log-probabilities its loss is made of. */
export interface ReinforcementOptions {
  readonly use_latent_loss: boolean;
  readonly use_answer_loss: boolean;
  readonly continue_decisions: boolean;
  readonly latent_logprob: "mean" | "sum";
  readonly random_speed_in_group: boolean;
}

/** All options, every switch resolved. */
export interface ColarOptions extends TrainingOptions {
  readonly model_id: string;
  readonly embeds_std: number | "auto";
  readonly latent_cot_config: LatentCotOptions;
  readonly latent_generation_config: LatentGenerationOptions;
  readonly latent_policy_config: {
    readonly lp_intermediate_size: number;
    readonly lp_deterministic: boolean;
  };
  readonly answer_generation_config: AnswerGeneration;
  readonly do_rl: boolean;
  readonly rl_config: ReinforcementOptions;
}

/**
 * A loss needs a term; that of reinforcement has terms of its own.
 * @throws {RangeError} when every weight is 0.
 */
export function checkWeights({ latent_cot_config: config, do_rl }: ColarOptions): void {
  if (do_rl) return;
  const weights = [
    config.ce_weight,
    config.embed_modeling_weight,
    config.entropy_weight,
    config.pred_embed_forward_weight,
  ];
  if (weights.some((weight) => weight !== 0)) return;
  throw new RangeError(
    "ce_weight, embed_modeling_weight, entropy_weight and pred_embed_forward_weight are all 0: " +
      "there is nothing to train; set one of them",
  );
}
