/**
 * Layer normalisation, the norm of GPT-2 and of the latent head: y = (x - mean) / sqrt(var + eps) * weight + bias.
 *
 * Ba, Kiros and Hinton, Layer Normalization, 2016 (arXiv 1607.06450).
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/layer_norm_backward.wgsl" with { type: "text" };
import backwardSubgroupSource from "../kernels/layer_norm_backward_subgroup.wgsl" with {
  type: "text",
};
import forwardSource from "../kernels/layer_norm_forward.wgsl" with { type: "text" };
import forwardSubgroupSource from "../kernels/layer_norm_forward_subgroup.wgsl" with {
  type: "text",
};
import weightBackwardSource from "../kernels/layer_norm_weight_backward.wgsl" with { type: "text" };
import { gradientTarget } from "./gradient_target.ts";
import { columnSum } from "./linear_forms.ts";
import { rowsPerChunk } from "./rms_norm.ts";

const backward = kernel("kernels/layer_norm_backward.wgsl", backwardSource);
const backwardSubgroup = kernel(
  "kernels/layer_norm_backward_subgroup.wgsl",
  backwardSubgroupSource,
);
const forward = kernel("kernels/layer_norm_forward.wgsl", forwardSource);
const forwardSubgroup = kernel("kernels/layer_norm_forward_subgroup.wgsl", forwardSubgroupSource);
const weightBackward = kernel("kernels/layer_norm_weight_backward.wgsl", weightBackwardSource);

/** What the backward pass needs of the forward one. */
interface Saved {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly mean: Tensor;
  readonly rstd: Tensor;
}

/**
 * Normalises every row of `x` by its mean and variance.
 * @param x [N, D] f32
 * @param weight [D] f32
 * @param bias [D] f32, another tensor
 * @param eps added to the variance
 * @returns [N, D]
 * @throws {TypeError} when the shapes do not fit.
 */
export function layerNorm(
  g: Graph,
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  eps: number,
): Tensor {
  const [rows, dim] = x.shape;
  const fits = [weight, bias].every((p) => p.shape.length === 1 && p.size === dim);
  if (x.shape.length !== 2 || !fits) {
    throw new TypeError(
      `layerNorm: x is ${x}, weight ${weight}, bias ${bias}; expected [N, D], [D], [D]`,
    );
  }
  const out = g.empty(x.shape);
  const mean = g.empty([rows]);
  const rstd = g.empty([rows]);
  const tensors = { x, weight, bias, out, mean, rstd };
  // Eight lanes a row with few loads win on software Vulkan, whole workgroups a row on a GPU.
  const bySubgroup = g.gpu.isSoftware && dim % 4 === 0;
  if (bySubgroup) {
    const params = { rows, width: dim / 4, chunk: 16, eps };
    const constants = { VECTORS: Math.ceil(dim / 32) };
    g.run(forwardSubgroup, tensors, params, Math.ceil(rows / 16), constants);
  } else {
    g.run(forward, tensors, { rows, dim, eps }, rows);
  }
  const run = bySubgroup ? backwardBySubgroup : backwardByWorkgroup;
  const saved = { x, weight, bias, mean, rstd };
  return g.record(out, [x, weight, bias], (d_out) => run(g, d_out, saved));
}

function backwardBySubgroup(g: Graph, d_out: Tensor, saved: Saved): void {
  const { x, weight, bias, mean, rstd } = saved;
  const [rows, dim] = x.shape;
  const weighted = g.needsGrad(weight) || g.needsGrad(bias);
  const chunk = rowsPerChunk(rows);
  const chunks = Math.ceil(rows / chunk);
  const { gradient: d_x, accumulate } = gradientTarget(g, x);
  const partial_weight = g.empty(weighted ? [chunks, dim] : [4]);
  const partial_bias = g.empty(weighted ? [chunks, dim] : [4]);
  const tensors = { d_out, x, weight, mean, rstd, d_x, partial_weight, partial_bias };
  const constants = { VECTORS: Math.ceil(dim / 32), weighted, accumulate };
  g.run(backwardSubgroup, tensors, { rows, width: dim / 4, chunk }, chunks, constants);
  if (g.needsGrad(weight)) columnSum(g, partial_weight, g.grad(weight));
  if (g.needsGrad(bias)) columnSum(g, partial_bias, g.grad(bias));
  g.scope.release(partial_weight);
  g.scope.release(partial_bias);
}

function backwardByWorkgroup(g: Graph, d_out: Tensor, saved: Saved): void {
  const { x, weight, bias, mean, rstd } = saved;
  const [rows, dim] = x.shape;
  if (g.needsGrad(x)) {
    g.run(backward, { d_out, x, weight, mean, rstd, d_x: g.grad(x) }, { rows, dim }, rows);
  }
  if (!g.needsGrad(weight) && !g.needsGrad(bias)) return;
  const chunk = rowsPerChunk(rows);
  const chunks = Math.ceil(rows / chunk);
  const partial_weight = g.empty([chunks, dim]);
  const partial_bias = g.empty([chunks, dim]);
  const tensors = { d_out, x, mean, rstd, partial_weight, partial_bias };
  const grid = [Math.ceil(dim / 64), chunks, 1] as const;
  g.run(weightBackward, tensors, { rows, dim, chunk }, grid);
  if (g.needsGrad(weight)) columnSum(g, partial_weight, g.grad(weight));
  if (g.needsGrad(bias)) columnSum(g, partial_bias, g.grad(bias));
  g.scope.release(partial_weight);
  g.scope.release(partial_bias);
}
