/**
 * GRPO, group relative policy optimisation: samples of one question are compared with each other, and what is better
 * than its group's mean becomes more probable.
 *
 *   reward      r = 1 for a right answer, else 0; over the number of latents if punish_latent_length
 *   advantage   A = (r - mean of the group) / (std of the group, ddof 1, + 1e-8)
 *   minibatches shuffled samples, exp_batch_size each, one optimizer step each, one pass
 *   loss        sum over parts of: mean over samples of -min(rho A, clip(rho, 1 - eps, 1 + eps) A), averaged over tokens,
 *               rho = exp(log-prob now - log-prob when it was drawn)
 *
 * What a part is (latents, the answer, decisions) and its log-probabilities are the method's (models/method.ts: Policy).
 *
 * Source: Shao et al., DeepSeekMath, arXiv 2402.03300, section 4.1, without its KL term; the published CoLaR code
 * (modules/grpo.py, models/colar.py: rl_training_step), arXiv 2505.16552.
 *
 * **Deviations.** `zero_equal_advantage` (B22), `average_per_token_loss` (A18): see io/config_profile.ts. A sample whose
 * advantage is 0 adds nothing to loss or gradient, so it is not computed.
 */
import { Graph } from "../autograd/tape.ts";
import { epochOrder } from "../data/batch.ts";
import { mixSeeds } from "../data/random.ts";
import type { Gpu, Readback } from "../gpu/device.ts";
import type { Losses, Policy, Rollout } from "../models/method.ts";
import { sum } from "../ops/add.ts";
import { grpoLoss } from "../ops/grpo.ts";
import type { AdamW } from "./adamw.ts";
import { type ReadLosses, readLosses } from "./supervised_step.ts";

/** Keys of `rl_config` that the algorithm reads. */
export interface GrpoConfig {
  readonly clip_eps: number;
  readonly average_per_token_loss: boolean;
  readonly clip_grad_norm: number;
}

/** Samples with what they were worth. */
export interface Experience {
  readonly rollouts: readonly Rollout[];
  readonly advantages: readonly number[];
  /** Of each sample, by part: log-probabilities when it was drawn. */
  readonly old: readonly Readonly<Record<string, Float32Array>>[];
}

/** An optimizer step on one minibatch, submitted. */
export interface Update extends ReadLosses {
  /** Norm of the gradient before clipping. */
  readonly norm: Readback;
  readonly numTokens: number;
}

const SHUFFLE = 0x6e70; // sets the order of minibatches apart from that of the rows

/** The reward of a sample: 1 for a right answer, over its number of latents where length is punished; else 0. */
export function rewardOf(isRight: boolean, numLatents: number, punishLength: boolean): number {
  if (!isRight) return 0;
  return punishLength ? 1 / numLatents : 1;
}

/**
 * Advantages within groups, in float32 as published.
 * @param rewards groups laid end to end
 * @param zeroEqual whether a group of equal rewards has none; else the rounding of its mean may be blown up to 0.8 (B22)
 * @throws {RangeError} for a group of one, or rewards that are no whole groups.
 */
export function groupAdvantages(
  rewards: readonly number[],
  groupSize: number,
  zeroEqual: boolean,
): number[] {
  if (!(groupSize >= 2 && rewards.length % groupSize === 0)) {
    throw new RangeError(
      `group_size must be an integer from 2 that divides ${rewards.length} samples, ` +
        `got ${groupSize}: an advantage is over the others of a group`,
    );
  }
  return Array.from({ length: rewards.length / groupSize }, (_, i) => {
    const group = rewards.slice(i * groupSize, (i + 1) * groupSize).map(Math.fround);
    if (zeroEqual && group.every((reward) => reward === group[0])) return group.map(() => 0);
    const mean = Math.fround(float32Sum(group) / groupSize);
    const squares = group.reduce((total, reward) => total + (reward - mean) ** 2, 0);
    const std = Math.sqrt(squares / (groupSize - 1));
    return group.map((reward) => (reward - mean) / (std + 1e-8));
  }).flat();
}

/** A sum in float32 in PyTorch's order: eight lanes, then the lanes, then the rest. */
function float32Sum(values: readonly number[]): number {
  const numInLanes = values.length - values.length % 8;
  const lanes = new Float32Array(8);
  values.slice(0, numInLanes).forEach((value, i) => lanes[i % 8] += value);
  return [...lanes, ...values.slice(numInLanes)].reduce((a, b) => Math.fround(a + b), 0);
}

/** Shuffled minibatches of samples; the last may be smaller. They depend on seed and step alone. */
export function minibatchOrder(
  numSamples: number,
  size: number,
  seed: number,
  step: number,
): number[][] {
  const order = [...epochOrder(numSamples, mixSeeds(seed, SHUFFLE), step)];
  return Array.from(
    { length: Math.ceil(numSamples / size) },
    (_, i) => order.slice(i * size, (i + 1) * size),
  );
}

/**
 * Log-probabilities of samples under the policy as it is: those that the rollout kept, the others computed anew.
 * @param size samples that are computed at once
 */
export async function logProbsAsDrawn(
  gpu: Gpu,
  policy: Policy,
  rollouts: readonly Rollout[],
  size: number,
): Promise<Readonly<Record<string, Float32Array>>[]> {
  const all = rollouts.map(({ logProbs }) => logProbs);
  const missing = [...all.keys()].filter((i) => !all[i]);
  for (let first = 0; first < missing.length; first += size) {
    const indices = missing.slice(first, first + size);
    using scope = gpu.scope();
    const g = new Graph(gpu, scope, { training: false });
    const { parts } = policy.logProbs(g, indices.map((i) => rollouts[i]));
    const computed: Record<string, Float32Array>[] = indices.map(() => ({}));
    for (const [name, { logProbs, lengths }] of Object.entries(parts)) {
      const numbers = await gpu.read(logProbs);
      let begin = 0;
      lengths.forEach((n, i) => computed[i][name] = numbers.slice(begin, begin += n));
    }
    indices.forEach((at, i) => all[at] = computed[i]);
  }
  return all.map((logProbs) => logProbs!);
}

/**
 * The loss of a minibatch.
 * @param indices the minibatch's samples that have an advantage, at least one
 * @param numSamples samples of the minibatch
 */
export function grpoLosses(
  g: Graph,
  policy: Policy,
  { rollouts, advantages, old }: Experience,
  indices: readonly number[],
  { clip_eps: clipEps, average_per_token_loss: averagePerToken }: GrpoConfig,
  numSamples = indices.length,
): Losses {
  const { parts, numTokens } = policy.logProbs(g, indices.map((i) => rollouts[i]));
  const own = indices.map((i) => advantages[i]);
  const losses = Object.entries(parts).map(([name, { logProbs, lengths }]) => {
    const before = Float32Array.from(indices.flatMap((i) => [...old[i][name]]));
    const options = { old: before, lengths, advantages: own, clipEps, averagePerToken };
    const loss = grpoLoss(g, logProbs, { ...options, numSequences: numSamples });
    return [`${name}_loss`, loss] as const;
  });
  const total = sum(g, losses.map(([, x]) => ({ x, weight: 1 })));
  return { total, parts: Object.fromEntries(losses), numTokens };
}

/** One optimizer step on a minibatch: recorded and submitted, not awaited. */
export function update(
  gpu: Gpu,
  policy: Policy,
  optimizer: AdamW,
  experience: Experience,
  minibatch: readonly number[],
  options: GrpoConfig & { readonly lr: number },
): Update {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  optimizer.zeroGrad();
  const live = minibatch.filter((i) => experience.advantages[i] !== 0);
  const losses = live.length > 0
    ? grpoLosses(g, policy, experience, live, options, minibatch.length)
    : noLosses(g, policy);
  if (live.length > 0) g.backward([losses.total]);
  const read = readLosses(g, losses);
  const norm = gpu.readback(optimizer.clipGradNorm(options.clip_grad_norm));
  optimizer.step({ lr: options.lr });
  gpu.submit();
  return { ...read, norm, numTokens: losses.numTokens };
}

function noLosses(g: Graph, { parts }: Policy): Losses {
  const zeros = parts.map((part) => [`${part}_loss`, g.zeros([1])] as const);
  return { total: g.zeros([1]), parts: Object.fromEntries(zeros), numTokens: 0 };
}
