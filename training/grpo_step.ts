/**
 * A step of reinforcement: every question of a batch is answered `group_size` times, the answers are scored, and the
 * samples are passed over once in minibatches, each an optimizer step (grpo.ts).
 *
 * A sample's draws are keyed by seed and its number in the run, so a resumed run draws what the interrupted one would
 * have. Rollouts are made for as many whole groups at once as `val_batch_size` allows, which changes nothing but, on a
 * GPU, roundings.
 */
import { mean, scoreOutput } from "../data/metrics.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Infer } from "../io/config_kinds.ts";
import type { Config } from "../io/config.ts";
import type { REINFORCEMENT } from "../io/config_schema.ts";
import type { Policy, Rollout } from "../models/method.ts";
import type { AdamW } from "./adamw.ts";
import {
  type Experience,
  groupAdvantages,
  logProbsAsDrawn,
  minibatchOrder,
  rewardOf,
  type Update,
  update,
} from "./grpo.ts";
import { meanLosses } from "./supervised_step.ts";
import {
  namedError,
  type StepPlace,
  type SubmittedStep,
  type TrainBatch,
  type TrainingStep,
} from "./training_step.ts";

/** What of `rl_config` any method has that is reinforced. */
export type ReinforcementConfig = Infer<typeof REINFORCEMENT>;

/** What sampling needs. */
export interface SamplingOptions {
  readonly policy: Policy;
  readonly config: Pick<Config, "seed" | "dataloader">;
  readonly rl: ReinforcementConfig;
  /** Aborting it ends the sampling, before anything has changed. */
  readonly signal?: AbortSignal;
  /** Whether an answer is right. @default {as validation scores it} */
  readonly isRight?: (row: QsaRow, rollout: Rollout) => boolean;
}

/** What a step of reinforcement needs. */
export interface GrpoStepOptions extends SamplingOptions {
  readonly gpu: Gpu;
  readonly optimizer: AdamW;
}

/** The step; see the head of this file. */
export class GrpoStep implements TrainingStep {
  constructor(private readonly options: GrpoStepOptions) {}

  async run([batch]: readonly TrainBatch[], place: StepPlace): Promise<SubmittedStep> {
    const { gpu, policy, optimizer, config: { seed, dataloader }, rl } = this.options;
    const { group_size, exp_batch_size } = rl;
    const firstSample = place.batch * dataloader.batch_size * group_size;
    const samples = await sampleGroups(this.options, batch, firstSample);
    const rewards = samples.map(({ isRight, rollout }) =>
      rewardOf(isRight, rollout.answer.reasoningLength, rl.punish_latent_length)
    );
    const advantages = groupAdvantages(rewards, group_size, rl.zero_equal_advantage);
    const rollouts = samples.map(({ rollout }) => rollout);
    const old = await logProbsAsDrawn(gpu, policy, rollouts, exp_batch_size);
    this.options.signal?.throwIfAborted();
    const experience: Experience = { rollouts, advantages, old };
    const order = minibatchOrder(rollouts.length, exp_batch_size, seed, place.batch);
    const updates = order.map((minibatch) =>
      update(gpu, policy, optimizer, experience, minibatch, { ...rl, lr: place.lr })
    );
    const told = {
      reward: mean(rewards),
      acc: mean(samples.map(({ isRight }) => Number(isRight))),
      n_latent_forward: mean(rollouts.map(({ answer }) => answer.reasoningLength)),
      output_length: mean(rollouts.map(({ answer }) => answer.ids.length)),
      advantage_size: mean(advantages.map(Math.abs)),
      groups_with_advantage: mean(
        groupsOf(advantages, group_size).map((group) =>
          Number(group.some((advantage) => advantage !== 0))
        ),
      ),
    };
    const tokens = updates.reduce((total, { numTokens }) => total + numTokens, 0);
    return { tokens, values: () => valuesOf(updates, told) };
  }
}

/** A sample and whether its answer is right. */
export interface ScoredSample {
  readonly rollout: Rollout;
  readonly isRight: boolean;
}

/**
 * Answers each question `group_size` times.
 * @param firstSample number of the first sample in the run
 * @returns groups laid end to end, in the order of `rows`
 * @throws the signal's reason when it is aborted.
 */
export async function sampleGroups(
  options: SamplingOptions,
  { rows, numbers }: TrainBatch,
  firstSample: number,
): Promise<ScoredSample[]> {
  const { policy, config: { seed, dataloader }, rl: { group_size }, signal } = options;
  const { isRight = isScoredRight } = options;
  const rowsAtOnce = Math.max(1, Math.floor(dataloader.val_batch_size / group_size));
  const samples: ScoredSample[] = [];
  for (let first = 0; first < rows.length; first += rowsAtOnce) {
    signal?.throwIfAborted();
    const asked = rows.slice(first, first + rowsAtOnce).flatMap((row) =>
      Array<QsaRow>(group_size).fill(row)
    );
    const sampleIds = asked.map((_, i) => firstSample + first * group_size + i);
    const named = range(first, asked.length / group_size).flatMap((i) =>
      Array<number>(group_size).fill(numbers[i])
    );
    const questions = asked.map(({ question }) => question);
    const rollouts = await policy.rollout(questions, { seed, sampleIds })
      .catch((error) => Promise.reject(namedError(error, named)));
    rollouts.forEach((rollout, i) =>
      samples.push({ rollout, isRight: isRight(asked[i], rollout) })
    );
  }
  return samples;
}

function isScoredRight({ answer }: QsaRow, { answer: { output, ids, reasoningLength } }: Rollout) {
  const lengths = { n_latent_forward: reasoningLength, output_length: ids.length };
  return scoreOutput(0, answer, output, lengths).acc === 1;
}

async function valuesOf(updates: readonly Update[], told: Readonly<Record<string, number>>) {
  const [{ names }] = updates;
  const losses = await meanLosses(names, updates.map((read) => read.losses));
  const norms = await Promise.all(updates.map(({ norm }) => norm.data()));
  return { ...losses, grad_norm: mean(norms.map(([norm]) => norm)), ...told };
}

function groupsOf(values: readonly number[], size: number): number[][] {
  return Array.from(
    { length: values.length / size },
    (_, i) => values.slice(i * size, (i + 1) * size),
  );
}

function range(first: number, length: number): number[] {
  return Array.from({ length }, (_, i) => first + i);
}
