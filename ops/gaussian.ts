/**
 * The diagonal Gaussian N(mean, exp(logStd)): reparameterised sample, log-probability, negative log-likelihood, entropy.
 *
 * The formulas are those of torch.distributions.Normal. `logStd` is not clamped: exp(-logStd) overflows below about -88.
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import entropyBackwardSource from "../kernels/gaussian_entropy_backward.wgsl" with { type: "text" };
import entropyForwardSource from "../kernels/gaussian_entropy_forward.wgsl" with { type: "text" };
import logProbBackwardSource from "../kernels/gaussian_log_prob_backward.wgsl" with {
  type: "text",
};
import logProbForwardSource from "../kernels/gaussian_log_prob_forward.wgsl" with { type: "text" };
import sampleBackwardSource from "../kernels/gaussian_sample_backward.wgsl" with { type: "text" };
import sampleForwardSource from "../kernels/gaussian_sample_forward.wgsl" with { type: "text" };
import { gradientTarget } from "./gradient_target.ts";
import { rowMean, type RowWeights } from "./row_mean.ts";

const sampleForward = kernel("kernels/gaussian_sample_forward.wgsl", sampleForwardSource);
const sampleBackward = kernel("kernels/gaussian_sample_backward.wgsl", sampleBackwardSource);
const logProbForward = kernel("kernels/gaussian_log_prob_forward.wgsl", logProbForwardSource);
const logProbBackward = kernel("kernels/gaussian_log_prob_backward.wgsl", logProbBackwardSource);
const entropyForward = kernel("kernels/gaussian_entropy_forward.wgsl", entropyForwardSource);
const entropyBackward = kernel("kernels/gaussian_entropy_backward.wgsl", entropyBackwardSource);

/**
 * A sample: mean + stdScale * exp(logStd) * eps, with gradients to mean and logStd.
 * @param mean [N, D]
 * @param logStd [N, D]
 * @param eps [N, D], standard normal numbers (see random.ts); a constant
 * @param stdScale factor of the standard deviation: a temperature; 0 gives the mean
 * @returns [N, D]
 * @throws {TypeError} when the shapes differ.
 */
export function sampleGaussian(
  g: Graph,
  mean: Tensor,
  logStd: Tensor,
  eps: Tensor,
  stdScale = 1,
): Tensor {
  checkShapes("sampleGaussian", { mean, logStd, eps });
  g.forwardOnly("sampleGaussian's eps", [eps]);
  const out = g.empty(mean.shape);
  const params = { size: mean.size, std_scale: stdScale };
  const groups = Math.ceil(mean.size / 256);
  g.run(sampleForward, { mean, log_std: logStd, eps, out }, params, groups);
  return g.record(out, [mean, logStd], (d_out) => {
    const tensors = {
      d_mean: gradientTarget(g, mean).gradient,
      d_log_std: gradientTarget(g, logStd).gradient,
    };
    g.run(sampleBackward, { d_out, log_std: logStd, eps, ...tensors }, params, groups);
  });
}

/**
 * log N(value; mean, exp(logStd)) of each row, with gradients to all three.
 * @param mean [N, D]
 * @param logStd [N, D]
 * @param value [N, D]; stopGradient it where no gradient should reach it
 * @param reduce how a row's D log-densities become one number
 * @returns [N]
 * @throws {TypeError} when the shapes differ or are not [N, D].
 */
export function gaussianLogProb(
  g: Graph,
  mean: Tensor,
  logStd: Tensor,
  value: Tensor,
  reduce: "mean" | "sum",
): Tensor {
  checkShapes("gaussianLogProb", { mean, logStd, value });
  const [rows, dim] = mean.shape;
  const params = { rows, dim, factor: reduce === "sum" ? 1 : 1 / Math.max(1, dim) };
  const groups = Math.ceil(rows / 8);
  const inputs = { mean, log_std: logStd, value };
  const out = g.empty([rows]);
  g.run(logProbForward, { ...inputs, out }, params, groups);
  return g.record(out, [mean, logStd, value], (d_out) => {
    const d_mean = gradientTarget(g, mean).gradient;
    const d_log_std = gradientTarget(g, logStd).gradient;
    const d_value = gradientTarget(g, value).gradient;
    g.run(logProbBackward, { ...inputs, d_out, d_mean, d_log_std, d_value }, params, groups);
  });
}

/**
 * Negative log-likelihood: the mean over D of -log N(value; mean, exp(logStd)), then the mean over rows.
 * @param rows weights of the rows; without them every row counts once
 * @returns [1]; 0 with zero gradients when no row counts
 * @throws {TypeError} when the shapes differ or are not [N, D].
 */
export function gaussianNll(
  g: Graph,
  mean: Tensor,
  logStd: Tensor,
  value: Tensor,
  rows?: RowWeights,
): Tensor {
  return rowMean(g, gaussianLogProb(g, mean, logStd, value, "mean"), rows, -1);
}

/**
 * Entropy: the mean over D of logStd + log(2 pi e) / 2, then the mean over rows.
 * @param logStd [N, D]
 * @param rows weights of the rows; without them every row counts once
 * @returns [1]; 0 with zero gradients when no row counts
 * @throws {TypeError} when logStd is not [N, D].
 */
export function gaussianEntropy(g: Graph, logStd: Tensor, rows?: RowWeights): Tensor {
  checkShapes("gaussianEntropy", { logStd });
  const [count, dim] = logStd.shape;
  const groups = Math.ceil(count / 8);
  const out = g.empty([count]);
  g.run(entropyForward, { log_std: logStd, out }, { rows: count, dim }, groups);
  const perRow = g.record(out, [logStd], (d_out) => {
    g.run(entropyBackward, { d_out, d_log_std: g.grad(logStd) }, { rows: count, dim }, groups);
  });
  return rowMean(g, perRow, rows);
}

function checkShapes(operation: string, tensors: Readonly<Record<string, Tensor>>): void {
  const [first] = Object.values(tensors);
  const same = Object.values(tensors).every((t) => `${t.shape}` === `${first.shape}`);
  if (same && first.shape.length === 2) return;
  const list = Object.entries(tensors).map(([name, t]) => `${name} ${t}`).join(", ");
  throw new TypeError(`${operation}: got ${list}; expected one shape [N, D]`);
}
