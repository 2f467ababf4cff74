/**
 * What several keys of a configuration must keep together: combinations that could not learn, or whose keys would not be
 * read, are refused, with why.
 *
 * Only a run that trains asks; a trained checkpoint may be tested with any of them but a way of thinking that there is
 * not (`checkThinking`). What is not refused trains: the ablations of the paper (-DL, -OC, -MP, -NLL, w/o average), and
 * each of them with each other, with a second pass and with random speeds. Keys of the supervised loss are not read in
 * reinforcement, nor its keys in the supervised stage.
 */
import { shown } from "./config_kinds.ts";
import type { Setting } from "./config_override.ts";
import type { ColarConfig, Config } from "./config_schema.ts";
import { nameOf } from "./config_tree.ts";

/** A combination that is refused: whether it is there, and the one line that is told. */
type Rule<C> = (model: C, trainer: Config["trainer"]) => string | false;

type ColarRule = Rule<ColarConfig["model_kwargs"]>;

const SUPERVISED: readonly ColarRule[] = [
  ({ latent_cot_config: { embed_modeling_loss }, latent_policy_config: { lp_deterministic } }) =>
    lp_deterministic && embed_modeling_loss === "nll" &&
    "embed_modeling_loss must be mse with lp_deterministic: the density of a Gaussian of deviation " +
      "1e-9 is a loss of about 1e18",
  ({ latent_cot_config: { entropy_weight }, latent_policy_config: { lp_deterministic } }) =>
    lp_deterministic && entropy_weight !== 0 &&
    `entropy_weight must be 0 with lp_deterministic, got ${entropy_weight}: a fixed deviation has ` +
      "a fixed entropy",
];

/** Of any method that is reinforced, one's own too. */
const REINFORCEMENT_RULES: readonly Rule<Config["model"]["model_kwargs"]>[] = [
  ({ do_lora, lora_config: { lora_dropout } }) =>
    do_lora && lora_dropout > 0 &&
    `lora_dropout must be 0 with do_rl, got ${lora_dropout}: samples are drawn without dropout, and ` +
      "their probabilities in training must be those that they were drawn with",
  ({ answer_generation_config: { do_sample } }) =>
    !do_sample && "do_sample must be True with do_rl: all samples of a group would be equal",
  (_, { accumulate_grad_batches: count }) =>
    count > 1 &&
    `accumulate_grad_batches must be 1 with do_rl, got ${count}: its optimizer steps are the ` +
      "minibatches; set exp_batch_size",
  (_, { gradient_clip_val: norm }) =>
    norm !== null &&
    `gradient_clip_val must be null with do_rl, got ${norm}: clip_grad_norm is its limit`,
];

const COLAR_REINFORCEMENT: readonly ColarRule[] = [
  ({ latent_policy_config: { lp_deterministic } }) =>
    lp_deterministic &&
    "lp_deterministic must be False with do_rl: all samples of a group would have the same latents",
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
];

const CHAINED = ["models/coconut.ts", "models/distill.ts", "models/codi.ts"];

/** Keys that say by epochs when stages change. */
const BY_EPOCH = ["stage_rule", "n_epochs_per_stage", "n_initial_epochs"];

/**
 * Refuses combinations of keys that could not train, or that would not be read; to be asked before training.
 * @param set what the arguments set: of keys with a default only those are refused that were asked for
 * @throws {RangeError} saying which key, why, and what to set instead.
 */
export function checkCombinations(config: Config, set: readonly Setting[] = []): void {
  const { model, trainer } = config;
  checkThinking(config);
  checkStageKeys(config, set);
  if (CHAINED.includes(model.target) && trainer.activation_checkpointing) {
    throw new RangeError(
      `activation_checkpointing must be False with ${model.target}, got True: its latents extend a ` +
        "cache, and a block that is computed again would extend it twice; use a smaller batch_size",
    );
  }
  const isReinforced = "do_rl" in model.model_kwargs && model.model_kwargs.do_rl;
  if (isReinforced) ask(REINFORCEMENT_RULES, model.model_kwargs, trainer);
  if (model.target !== "models/colar.ts") return;
  ask(isReinforced ? COLAR_REINFORCEMENT : SUPERVISED, model.model_kwargs, trainer);
}

function ask<C>(rules: readonly Rule<C>[], model: C, trainer: Config["trainer"]): void {
  for (const rule of rules) {
    const message = rule(model, trainer);
    if (message) throw new RangeError(message);
  }
}

/**
 * Refuses a way of thinking that a method has not; to be asked before training and before testing.
 * @throws {RangeError} with the reason and what to set instead.
 */
export function checkThinking({ model }: Config): void {
  if (model.target !== "models/coconut.ts" && model.target !== "models/distill.ts") return;
  const { n_latent_forward, cache_in_latent_loop } = model.model_kwargs.latent_generation_config;
  if (n_latent_forward !== null || cache_in_latent_loop) return;
  throw new RangeError(
    "n_latent_forward must be trained or an integer from 1 with cache_in_latent_loop=False, got null: " +
      "where latents see only themselves, ### would be predicted from a latent without its prompt; " +
      "set cache_in_latent_loop=True",
  );
}

/** Refuses keys of stages by epoch beside `stage_ends`, with which they are not read. */
function checkStageKeys({ model }: Config, set: readonly Setting[]): void {
  const stages = model.target === "models/icot.ts"
    ? model.model_kwargs.icot_config
    : model.target === "models/coconut.ts"
    ? model.model_kwargs.coconut_config
    : undefined;
  if (!stages?.stage_ends) return;
  const ends = `is not read with stage_ends=${shown(stages.stage_ends)}`;
  const asked = set.filter(({ argument }) => !/=\s*profile\s*$/.test(argument))
    .flatMap(({ paths }) => paths.map(nameOf)).find((name) => BY_EPOCH.includes(name));
  if (asked !== undefined) {
    throw new RangeError(`${asked} ${ends}; add stage_ends=null, or leave ${asked} out`);
  }
  if (stages.stage_rule !== "official") return; // no profile sets it
  throw new RangeError(`stage_rule=official ${ends}; add stage_ends=null, or stage_rule=profile`);
}
