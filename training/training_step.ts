/**
 * What the training loop does in one step, whatever is learned from: rows with their steps (supervised_step.ts) or
 * rewards (grpo_step.ts).
 */
import type { QsaRow } from "../data/qsa.ts";
import { withRowNames } from "../llm/positions.ts";

/** Where a run stands when a step begins, and the step's learning rate. */
export interface StepPlace {
  /** Steps done. */
  readonly step: number;
  /** Batches seen so far, over the whole run. */
  readonly batch: number;
  /** Epochs done. */
  readonly epoch: number;
  /** Share of the run's steps that are done, from 0 to below 1. */
  readonly progress: number;
  readonly lr: number;
}

/** Rows of one batch. */
export interface TrainBatch {
  readonly rows: readonly QsaRow[];
  /** Their numbers in the training split. */
  readonly numbers: readonly number[];
}

/** A step that has been submitted. */
export interface SubmittedStep {
  /** Tokens and latents that it trained on. */
  readonly tokens: number;
  /** Reads what is logged, by name; `loss` is one. */
  values(): Promise<Readonly<Record<string, number>>>;
}

/** One kind of step. */
export interface TrainingStep {
  /**
   * Changes the method's parameters.
   * @throws what ended it, before it has changed any.
   */
  run(batches: readonly TrainBatch[], place: StepPlace): SubmittedStep | Promise<SubmittedStep>;
}

/** Runs what may refuse a row of the batch, and names that row by its number in the training split. */
export function namingRows<T>(numbers: readonly number[], work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw namedError(error, numbers);
  }
}

/** The same for an error that came later. */
export function namedError(error: unknown, numbers: readonly number[]): unknown {
  return withRowNames(error, numbers.map((row) => `training row ${row}`));
}
