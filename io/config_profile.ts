/**
 * The points where the published code departs from its paper or from itself, each a switch with two presets.
 *
 * `profile: released` does what the published code does, `profile: corrected` what the paper or plain sense asks. A
 * switch is a key of the configuration whose YAML value is `profile`; an argument (`layout=as-released`) turns one
 * alone. `row` is the row of the audit of xiaomi-research/colar at 4b6ae9a, whose lines `where` names.
 *
 * Rows that touch CoT, CoLaR's supervised stage, evaluation or data and are no switch here: plain keys, the same in
 * both profiles, are A16 (embeds_std), B11 (replace_r_with_auto_prob), B15 (entropy_weight), B16 (lp_deterministic),
 * B19 (target_modules), B20 (gradient_clip_val, schedule, weight_decay), C1 (pred_compressed_cot, which is read here).
 * Both profiles do as published for A15 (c is drawn once per batch; at c = 1 pads keep their embedding), B2 (at least
 * one latent), B4 and B5 (how an answer is read), B14 (a group's label is one of its tokens) and B17 (no BOS). Draws
 * keyed by question (C11) and one cache throughout (B3) change no expected number, so they have no released side.
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
      "#L of CoT: the index of ### less 1, or of ':' less 3, or the whole length with pads; " +
      "exact counts the reasoning tokens",
  }),
  latents_on_correct: define(oneOf("mean_of_batches", "exact"), {
    released: "mean_of_batches",
    corrected: "exact",
    row: "B6",
    where: "model_base.py:488",
    changes:
      "#L on correct answers: the mean of each batch's ratio, or one ratio over all questions",
  }),
  empty_steps: define(oneOf("as-released", "separators"), {
    released: "as-released",
    corrected: "separators",
    row: "none",
    where: "cot.py",
    changes: "a row without steps: ###### as one string, another token in Llama's vocabulary, or " +
      "### twice",
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
} as const;

/** Whether a key's kind is a switch. */
export function isSwitch(kind: Kind): kind is Switch {
  return "released" in kind && "corrected" in kind;
}

/** The value that a switch takes: its own, or its preset where it follows the profile. */
export function switchValue(kind: Kind, value: Value, preset: Profile): Value {
  return isSwitch(kind) && value === FOLLOWS_PROFILE ? kind[preset] : value;
}
