/**
 * The clipped surrogate of GRPO, token by token, and its mean over sequences.
 *
 * Shao et al., DeepSeekMath, 2024 (arXiv 2402.03300), without the KL term; the published CoLaR code (modules/grpo.py).
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/grpo_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/grpo_forward.wgsl" with { type: "text" };
import { rowMean } from "./row_mean.ts";

const forward = kernel("kernels/grpo_forward.wgsl", forwardSource);
const backward = kernel("kernels/grpo_backward.wgsl", backwardSource);

/** Divisor of a sequence's sum where its tokens are not averaged, as published. */
const SUM_DIVISOR = 32;

/** What a loss of sequences is made of; all are constants. */
export interface GrpoOptions {
  /** [N] log-probabilities of the tokens under the policy that drew them, sequences laid end to end. */
  readonly old: Float32Array;
  /** Number of tokens of each sequence. */
  readonly lengths: readonly number[];
  /** Advantage of each sequence. */
  readonly advantages: readonly number[];
  /** The ratio's interval is [1 - clipEps, 1 + clipEps]. */
  readonly clipEps: number;
  /** True: a sequence counts as the mean over its tokens. False: as their sum over 32. */
  readonly averagePerToken: boolean;
  /** Number of sequences in the mean, when some that add nothing are left out. @default {those given} */
  readonly numSequences?: number;
}

/**
 * Mean over sequences of -min(r A, clip(r) A), r = exp(logProbs - old), averaged (or summed over 32) over their tokens;
 * a sequence without tokens counts 0.
 * @param logProbs [N] log-probabilities of the tokens, sequences laid end to end
 * @returns [1]; 0 with zero gradients without sequences
 * @throws {TypeError} when the numbers of tokens or sequences differ.
 */
export function grpoLoss(g: Graph, logProbs: Tensor, options: GrpoOptions): Tensor {
  const { old, lengths, advantages, clipEps, averagePerToken } = options;
  const { numSequences = lengths.length } = options;
  const size = lengths.reduce((sum, length) => sum + length, 0);
  const isFit = logProbs.shape.join() === `${size}` && old.length === size;
  if (!isFit || advantages.length !== lengths.length) {
    throw new TypeError(
      `grpoLoss: logProbs are ${logProbs}, old [${old.length}] and advantages ` +
        `[${advantages.length}]; expected [${size}] twice and [${lengths.length}]`,
    );
  }
  const perToken = (of: (sequence: number) => number) =>
    g.scope.upload(Float32Array.from(lengths.flatMap((n, b) => Array<number>(n).fill(of(b)))));
  const advantage = perToken((b) => advantages[b]);
  const tensors = { log_prob: logProbs, old: g.scope.upload(old), advantage };
  const params = { size, clip_eps: clipEps };
  const groups = Math.ceil(size / 64);
  const out = g.empty([size]);
  g.run(forward, { ...tensors, out }, params, groups);
  const surrogate = g.record(out, [logProbs], (d_out) => {
    g.run(backward, { ...tensors, d_out, d_log_prob: g.grad(logProbs) }, params, groups);
  });
  const weights = perToken((b) => averagePerToken ? 1 / lengths[b] : 1 / SUM_DIVISOR);
  return rowMean(g, surrogate, { weights, total: numSequences });
}
