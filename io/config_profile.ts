/**
 * The points where the published code departs from its paper or from itself, each a switch with two presets.
 *
 * `profile: released` does what the published code does, `profile: corrected` what the paper or plain sense asks. A
 * switch is a key of the configuration whose YAML value is `profile`; an argument (`layout=as-released`) turns one
 * alone. `row` is the row of the audit of xiaomi-research/colar at 4b6ae9a, whose lines `where` names.
 *
 * Rows that are no switch stand, with why, in deviations.ts, which makes docs/deviations.md of both
 * (`./denow task docs`).
 */
import { boolean, integer, type Kind, oneOf, type Value } from "./config_kinds.ts";

/** Which preset the switches take that are not set one by one. */
export const profile = oneOf("released", "corrected");

/** A preset's name. */
export type Profile = "released" | "corrected";

/** A key with a value for each profile. */
export interface Switch<T extends Value = Value> extends Kind<T> {
  /** The value under `profile: released`. */
  readonly released: T;
  /** The value under `profile: corrected`. */
  readonly corrected: T;
  /** The audit's row; `none` for what was found later. */
  readonly row: string;
  /** Lines of the published code. */
  readonly where: string;
  /** What the values mean. */
  readonly changes: string;
}

type Presets<T extends Value> = Omit<Switch<T>, keyof Kind>;

const define = <T extends Value>(kind: Kind<T>, presets: Presets<T>): Switch<T> => ({
  ...kind,
  ...presets,
});

/** The word that stands in a YAML file for a switch's preset. */
export const FOLLOWS_PROFILE = "profile";

/** Every switch, by the last part of its key. */
export const SWITCHES = {
  protocol: define(oneOf("paper", "greedy"), {
    released: "paper",
    corrected: "paper",
    row: "A12",
    where: "configs/models/*.yaml, model_base.py:271,298-299",
    changes: "paper draws latents, the decision to stop and the answer; greedy takes the mean of " +
      "the latents and the most probable token, as Coconut and CODI do",
  }),
  interval: define(oneOf("decode_seeds", "questions"), {
    released: "decode_seeds",
    corrected: "questions",
    row: "A13",
    where: "utils.py:100-104",
    changes: "the interval in the table: 1.96 std / sqrt(test_times) over decode seeds, or 95 % " +
      "over questions",
  }),
  reasoning_length: define(oneOf("as-released", "exact"), {
    released: "as-released",
    corrected: "exact",
    row: "B1",
    where: "model_base.py:203-213",
    changes:
      "#L of methods that write their steps (cot, icot; of others it is the number of latents): " +
      "the index of ### less 1, or of ':' less 3, or the whole length with pads; exact counts the " +
      "reasoning tokens",
  }),
  latents_on_correct: define(oneOf("mean_of_batches", "exact"), {
    released: "mean_of_batches",
    corrected: "exact",
    row: "B6",
    where: "model_base.py:488",
    changes:
      "#L on correct answers: the mean of each batch's ratio, or one ratio over all questions",
  }),
  separator_tokens: define(oneOf("as-released", "alone"), {
    released: "as-released",
    corrected: "alone",
    row: "none",
    where: "model_base.py, cot.py",
    changes:
      "### is tokenised as one string with the text beside it, or alone; they differ where a " +
      "row has no steps (######), or steps that begin with a line break or a bracket",
  }),
  top_k: define(integer(0), {
    released: 50,
    corrected: 0,
    row: "A23",
    where: "every generate call",
    changes: "answer tokens are drawn from the top_k most probable; 0 is off",
  }),
  pad_in_answer: define(boolean, {
    released: true,
    corrected: false,
    row: "B18",
    where: "model_base.py:38,51",
    changes: "whether [PAD] may be drawn in an answer",
  }),
  layout: define(oneOf("as-released", "clean"), {
    released: "as-released",
    corrected: "clean",
    row: "A14",
    where: "colar.py:103-141",
    changes: "as-released lets the last group of a row be all padding, depending on the batch; " +
      "clean ends every row with a real group",
  }),
  mask_separator_label: define(boolean, {
    released: false,
    corrected: false,
    row: "B12",
    where: "colar.py:184-189",
    changes: "whether the steps' first ###, predicted from a masked pad, carries no label",
  }),
  sqrt_mean: define(boolean, {
    released: true,
    corrected: true,
    row: "B13",
    where: "colar.py:149-157",
    changes: "a group is its sum over the root of its number of tokens; False, the mean (-MP)",
  }),
  second_pass_scale: define(oneOf("as-released", "embeds_std"), {
    released: "as-released",
    corrected: "embeds_std",
    row: "A17",
    where: "colar.py:217-246",
    changes: "sampled embeddings enter the second pass normalised, or times embeds_std as in use",
  }),
  second_pass_index: define(oneOf("as-released", "clean"), {
    released: "as-released",
    corrected: "clean",
    row: "A17",
    where: "colar.py:217-246",
    changes: "as-released puts ### into column 0 and a sample into each column of its own; clean " +
      "starts each row at its first real column, each sample one column later",
  }),
  second_pass_labels: define(oneOf("steps_and_answer", "answer"), {
    released: "steps_and_answer",
    corrected: "answer",
    row: "A17",
    where: "colar.py:217-246",
    changes: "what the second pass supervises",
  }),
  average_per_token_loss: define(boolean, {
    released: false,
    corrected: true,
    row: "A18",
    where: "grpo.py:127-132,150-153, configs/models/colar.yaml:42",
    changes:
      "in reinforcement a sample's loss is the mean over its tokens; False, their sum over 32",
  }),
  latent_logprob: define(oneOf("mean", "sum"), {
    released: "mean",
    corrected: "mean",
    row: "A20",
    where: "colar.py:438",
    changes:
      "a latent's log-probability: the mean over its numbers, so that ratios stay near 1 and " +
      "are hardly ever clipped, or their sum",
  }),
  continue_decisions: define(boolean, {
    released: false,
    corrected: true,
    row: "A21",
    where: "colar.py:441-450",
    changes: "whether each decision to go on thinking or to stop is reinforced, as a part of its " +
      "own; False, only the final ###, drawn or forced, as the answer's first token",
  }),
  resample_each_epoch: define(boolean, {
    released: false,
    corrected: true,
    row: "A22",
    where: "colar.py:37-51, qsa.py:80-88, configs/trainer (persistent_workers)",
    changes:
      "the questions of an epoch of reinforcement are drawn anew, none twice; False, drawn " +
      "once, with replacement, for the whole run",
  }),
  zero_equal_advantage: define(boolean, {
    released: false,
    corrected: true,
    row: "B22",
    where: "grpo.py:66-67",
    changes:
      "equal rewards give no advantage; False, the rounding of their mean may give up to 0.8",
  }),
  label_pads: define(boolean, {
    released: true,
    corrected: false,
    row: "A5",
    where: "coconut.py:93, icot.py:70, distill.py:73,120",
    changes: "whether the pads around steps and answer carry labels, so that [PAD] is learned",
  }),
  supervise_transition: define(boolean, {
    released: false,
    corrected: true,
    row: "A6",
    where: "coconut.py:93, icot.py:70, distill.py:73,120",
    changes: "whether the first token behind question and latents carries a label",
  }),
  final_newline: define(boolean, {
    released: true,
    corrected: false,
    row: "A7",
    where: "coconut.py:73, icot.py; model_base.py:401-406",
    changes: "whether a line end stands between the remaining steps and ### in training, where " +
      "answering has none",
  }),
  position_ids: define(oneOf("as-released", "mask"), {
    released: "as-released",
    corrected: "mask",
    row: "A8",
    where: "coconut.py:43-47,59-64,88-94, icot.py, distill.py",
    changes: "positions in training: columns of the padded batch, or real tokens, as in answering",
  }),
  stage_rule: define(oneOf("as-released", "intended", "official"), {
    released: "as-released",
    corrected: "intended",
    row: "A3, A4",
    where: "coconut.py:23-25,68-73, icot.py:19-21",
    changes:
      "stage by epoch: ceil(epoch + 1/n), which is epoch + 1 for any n; ceil((epoch + 1)/n); " +
      "or Coconut's own, which begins with CoT and removes all steps only after the last stage; " +
      "not read with stage_ends, which arith sets: there A3 shows only with stage_ends=null",
  }),
  cache_in_latent_loop: define(boolean, {
    released: false,
    corrected: true,
    row: "A1",
    where: "model_base.py:382-398",
    changes:
      "whether latents see prompt and latents before them when answering, as in training, or " +
      "only themselves",
  }),
  icot_prompt: define(oneOf("as-released", "training"), {
    released: "as-released",
    corrected: "training",
    row: "A2",
    where: "model_base.py:192-199, icot.py:34-37",
    changes: "iCoT's prompt when answering: the bare question, or speed and ### behind it as in " +
      "training",
  }),
  gsm8k_steps: define(oneOf("sentences", "equations"), {
    released: "sentences",
    corrected: "equations",
    row: "B9",
    where: "data_preprocessing/gsm8k.py:8-10",
    changes: "the steps of GSM8K: its sentences, or only their equations, as the paper's set " +
      "GSM8k-Aug has them",
  }),
  question_text: define(oneOf("as-released", "tidy"), {
    released: "as-released",
    corrected: "tidy",
    row: "none",
    where: "data_preprocessing/svamp.py, multiarith.py",
    changes: "as-released keeps the second full stop of 642 questions of SVAMP and the spaces " +
      "around those of MultiArith",
  }),
  boxed_answer: define(oneOf("as-released", "balanced"), {
    released: "as-released",
    corrected: "balanced",
    row: "B10",
    where: "data_preprocessing/math.py:17-25,39-45",
    changes: "MATH's answer: the only \\boxed{ to the last brace of all text behind it, else the " +
      "row is dropped; or the last box to the brace that closes it",
  }),
} as const;

/** Whether a key's kind is a switch. */
export function isSwitch(kind: Kind): kind is Switch {
  return "released" in kind && "corrected" in kind;
}

/** The value that a switch takes: its own, or its preset where it follows the profile. */
export function switchValue(kind: Kind, value: Value, preset: Profile): Value {
  return isSwitch(kind) && value === FOLLOWS_PROFILE ? kind[preset] : value;
}
