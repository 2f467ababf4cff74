/**
 * What several keys of a configuration must keep together: combinations that could not learn are refused, with why.
 *
 * Only a run that trains asks: a trained checkpoint may be tested with any of them. What is not refused trains: the
 * ablations of the paper (-DL, -OC, -MP, -NLL, w/o average), and each of them with each other, with a second pass and
 * with random speeds. Keys of the supervised loss are not read in reinforcement, nor its keys in the supervised stage.
 */
import type { ColarConfig, Config } from "./config_schema.ts";

/** A combination that is refused: whether it is there, and the one line that is told. */
type Rule = (
  model: ColarConfig["model_kwargs"],
  trainer: Config["trainer"],
) => string | false;

const SUPERVISED: readonly Rule[] = [
  ({ latent_cot_config: { embed_modeling_loss }, latent_policy_config: { lp_deterministic } }) =>
    lp_deterministic && embed_modeling_loss === "nll" &&
    "embed_modeling_loss must be mse with lp_deterministic: the density of a Gaussian of deviation " +
      "1e-9 is a loss of about 1e18",
  ({ latent_cot_config: { entropy_weight }, latent_policy_config: { lp_deterministic } }) =>
    lp_deterministic && entropy_weight !== 0 &&
    `entropy_weight must be 0 with lp_deterministic, got ${entropy_weight}: a fixed deviation has ` +
      "a fixed entropy",
];

const REINFORCEMENT: readonly Rule[] = [
  ({ do_lora, lora_config: { lora_dropout } }) =>
    do_lora && lora_dropout > 0 &&
    `lora_dropout must be 0 with do_rl, got ${lora_dropout}: samples are drawn without dropout, and ` +
      "their probabilities in training must be those that they were drawn with",
  ({ latent_policy_config: { lp_deterministic } }) =>
    lp_deterministic &&
    "lp_deterministic must be False with do_rl: all samples of a group would have the same latents",
  ({ answer_generation_config: { do_sample } }) =>
    !do_sample && "do_sample must be True with do_rl: all samples of a group would be equal",
  ({ latent_generation_config: { latent_temperature }, rl_config: { use_latent_loss } }) =>
    latent_temperature === 0 && use_latent_loss &&
    "latent_temperature must be above 0 with do_rl, got 0: latents that are not drawn teach nothing; " +
      "raise it or set use_latent_loss=False",
  ({ rl_config: { use_latent_loss, use_answer_loss, continue_decisions } }) =>
    !use_latent_loss && !use_answer_loss && !continue_decisions &&
    "use_latent_loss, use_answer_loss and continue_decisions are all False: do_rl has no loss; " +
      "set one of them",
  ({ latent_generation_config: { n_latent_forward }, rl_config }) =>
    n_latent_forward !== null && !rl_config.use_latent_loss && !rl_config.use_answer_loss &&
    `n_latent_forward must be null with continue_decisions alone, got ${n_latent_forward}: a fixed ` +
      "number leaves nothing to decide",
  (_, { accumulate_grad_batches: count }) =>
    count > 1 &&
    `accumulate_grad_batches must be 1 with do_rl, got ${count}: its optimizer steps are the ` +
      "minibatches; set exp_batch_size",
  (_, { gradient_clip_val: norm }) =>
    norm !== null &&
    `gradient_clip_val must be null with do_rl, got ${norm}: clip_grad_norm is its limit`,
];

const CHAINED = ["models/coconut.ts", "models/distill.ts", "models/codi.ts"];

/**
 * Refuses combinations of keys that could not train; to be asked before training.
 * @throws {RangeError} saying which key, why, and what to set instead.
 */
export function checkCombinations({ model, trainer }: Config): void {
  if (CHAINED.includes(model.target) && trainer.activation_checkpointing) {
    throw new RangeError(
      `activation_checkpointing must be False with ${model.target}, got True: its latents extend a ` +
        "cache, and a block that is computed again would extend it twice; use a smaller batch_size",
    );
  }
  if (model.target !== "models/colar.ts") return;
  for (const rule of model.model_kwargs.do_rl ? REINFORCEMENT : SUPERVISED) {
    const message = rule(model.model_kwargs, trainer);
    if (message) throw new RangeError(message);
  }
}
