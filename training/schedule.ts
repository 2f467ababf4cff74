/**
 * Where a run ends and its learning rate at each step: constant, or falling to 0 in a line or a half cosine, after a
 * linear warm-up.
 *
 * The factors are those of transformers (optimization.py: get_constant_schedule_with_warmup, get_linear_..., and
 * get_cosine_schedule_with_warmup with half a wave). Epochs are as in configs/trainer: `epoch_scaling` passes each.
 */
import type { Config } from "../io/config.ts";

/** How long a run is. */
export interface RunLength {
  /** Batches of one epoch; the last may be smaller. */
  readonly batchesPerEpoch: number;
  /** Optimizer steps in all. */
  readonly numSteps: number;
}

/** What the learning rate follows. */
export interface Schedule {
  /** Rate after the warm-up. */
  readonly lr: number;
  readonly schedule: "constant" | "linear" | "cosine";
  /** Steps in which the rate rises from 0. */
  readonly warmupSteps: number;
  /** Steps of the whole run. */
  readonly numSteps: number;
}

/**
 * The length of a run over `numRows` training rows. An epoch's last step may add up fewer batches than
 * `accumulate_grad_batches`, so that every epoch ends with a step.
 */
export function runLength(
  { trainer, dataloader, data_module }: Config,
  numRows: number,
): RunLength {
  const batchesPerPass = Math.ceil(numRows / dataloader.batch_size);
  const batchesPerEpoch = Math.max(1, Math.ceil(batchesPerPass * data_module.epoch_scaling - 1e-9));
  const stepsPerEpoch = Math.ceil(batchesPerEpoch / trainer.accumulate_grad_batches);
  const numSteps = Math.min(trainer.max_epochs * stepsPerEpoch, trainer.max_steps ?? Infinity);
  return { batchesPerEpoch, numSteps };
}

/** What a configuration's learning rate follows in a run of `numSteps` steps. */
export function scheduleOf({ model }: Config, numSteps: number): Schedule {
  const { optimizer: { lr }, scheduler: { schedule, warmup_steps } } = model.training_kwargs;
  return { lr, schedule, warmupSteps: warmup_steps, numSteps };
}

/**
 * The learning rate of a step.
 * @param step steps done before, from 0: the first step of a warm-up has rate 0
 */
export function learningRate(step: number, { lr, schedule, warmupSteps, numSteps }: Schedule) {
  if (step < warmupSteps) return lr * step / warmupSteps;
  if (schedule === "constant") return lr;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, numSteps - warmupSteps));
  return lr * (schedule === "linear" ? 1 - progress : 0.5 * (1 + Math.cos(Math.PI * progress)));
}
