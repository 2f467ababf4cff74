/**
 * Stages of training: which of a row's first steps are gone from the text, by how far the run is.
 *
 *   intended     stage = min(max, ceil((epoch + 1) / n)), from 1; at the last stage all steps are gone
 *   as-released  stage = min(max, ceil(epoch + 1 / n)), which is epoch + 1 for any n (A3)
 *   official     0 (CoT) for n_initial_epochs, then n epochs each for 1 to max, then all steps are gone (A4)
 *   stage_ends   stage = 1 + number of ends that the run has passed; at the last stage all steps are gone
 *
 * At stage s the first s steps are gone; where latents stand for them, their number follows s, at most max.
 *
 * Source: the published CoLaR code (models/coconut.py, models/icot.py); official: Hao et al., arXiv 2412.06769, section 4
 * (6 epochs of CoT, then 3 for each stage, on GSM8k-Aug).
 */
import { answerIds, remainingStepsIds, type Tokenizer } from "../data/prompt.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { TrainDraw } from "./method.ts";
import type { Following, LayoutOptions } from "./segments.ts";

/** How a stage follows from the epoch. */
export type StageRule = "intended" | "as-released" | "official";

/** When stages change: keys of the configuration. */
export interface StageOptions {
  readonly stage_rule: StageRule;
  readonly n_epochs_per_stage: number;
  /** Epochs before stage 1; read with `official` only. */
  readonly n_initial_epochs: number;
  readonly max_n_stage: number;
  /** Shares of the run at which the stages but the last end; null: stages follow the epoch. */
  readonly stage_ends: readonly number[] | null;
}

/** All that a method with stages is configured by, but its latents. */
export interface StagedOptions extends StageOptions, LayoutOptions {
  /** Whether a line end stands between the remaining steps and `###` (A7). */
  readonly final_newline: boolean;
}

/** One stage. */
export interface Stage {
  /** From 0, where all steps are text. */
  readonly number: number;
  /** First steps of a row that are gone; Infinity for all. */
  readonly numRemoved: number;
  /** Steps for which latents stand, at most the last stage's number. */
  readonly numReplaced: number;
}

/**
 * Refuses ends that do not fit the stages.
 * @throws {RangeError} with the rule.
 */
export function checkStages({ stage_ends: ends, max_n_stage: max }: StageOptions): void {
  if (ends === null) return;
  const rises = ends.every((end, i) => end > (ends[i - 1] ?? 0) && end < 1);
  if (rises && ends.length === max - 1) return;
  throw new RangeError(
    `stage_ends must be ${max - 1} rising shares of the run between 0 and 1, one less than ` +
      `max_n_stage, got [${ends.join(", ")}]`,
  );
}

/** The stage of a training step. */
export function stageAt(options: StageOptions, step: Pick<TrainDraw, "epoch" | "progress">): Stage {
  const { stage_rule: rule, max_n_stage: max, stage_ends: ends } = options;
  const isOfficial = ends === null && rule === "official";
  const reached = ends
    ? 1 + ends.filter((end) => end <= step.progress).length
    : byEpoch(options, step.epoch);
  const number = Math.min(reached, isOfficial ? max + 1 : max);
  const isLast = isOfficial ? number > max : number >= max;
  return { number, numRemoved: isLast ? Infinity : number, numReplaced: Math.min(number, max) };
}

function byEpoch(options: StageOptions, epoch: number): number {
  const { stage_rule: rule, n_epochs_per_stage: n, n_initial_epochs: initial } = options;
  if (rule === "intended") return Math.ceil((epoch + 1) / n);
  if (rule === "as-released") return Math.ceil(epoch + 1 / n);
  return epoch < initial ? 0 : 1 + Math.floor((epoch - initial) / n);
}

/** What follows question and latents in a row at a stage: the remaining steps with `###`, and the answer. */
export function stagedFollowing(
  tokenizer: Tokenizer,
  { steps, answer }: QsaRow,
  { numRemoved }: Stage,
  finalNewline: boolean,
): Following {
  return {
    steps: remainingStepsIds(tokenizer, steps.slice(numRemoved), finalNewline),
    answer: answerIds(tokenizer, answer),
  };
}
