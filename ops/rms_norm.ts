/**
 * Root mean square normalisation, the norm of Llama and Qwen2: y = x / sqrt(mean(x^2) + eps) * weight.
 *
 * Zhang and Sennrich, Root Mean Square Layer Normalization, 2019 (arXiv 1910.07467).
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/rms_norm_backward.wgsl" with { type: "text" };
import backwardSubgroupSource from "../kernels/rms_norm_backward_subgroup.wgsl" with {
  type: "text",
};
import forwardSource from "../kernels/rms_norm_forward.wgsl" with { type: "text" };
import forwardSubgroupSource from "../kernels/rms_norm_forward_subgroup.wgsl" with { type: "text" };
import weightBackwardSource from "../kernels/rms_norm_weight_backward.wgsl" with { type: "text" };
import { gradientTarget } from "./gradient_target.ts";
import { columnSum } from "./linear_forms.ts";

const backward = kernel("kernels/rms_norm_backward.wgsl", backwardSource);
const backwardSubgroup = kernel(
  "kernels/rms_norm_backward_subgroup.wgsl",
  backwardSubgroupSource,
);
const forward = kernel("kernels/rms_norm_forward.wgsl", forwardSource);
const forwardSubgroup = kernel("kernels/rms_norm_forward_subgroup.wgsl", forwardSubgroupSource);
const weightBackward = kernel("kernels/rms_norm_weight_backward.wgsl", weightBackwardSource);

/**
 * Normalises every row of `x` by its root mean square.
 * @param x [N, D] f32
 * @param weight [D] f32
 * @param eps added to the mean square
 * @returns [N, D]
 * @throws {TypeError} when the shapes do not fit.
 */
export function rmsNorm(g: Graph, x: Tensor, weight: Tensor, eps: number): Tensor {
  const [rows, dim] = x.shape;
  if (x.shape.length !== 2 || weight.shape.length !== 1 || weight.size !== dim) {
    throw new TypeError(`rmsNorm: x is ${x} but weight is ${weight}; expected [N, D] and [D]`);
  }
  const out = g.empty(x.shape);
  const rstd = g.empty([rows]);
  // Eight lanes a row with few loads win on software Vulkan, whole workgroups a row on a GPU.
  const bySubgroup = g.gpu.isSoftware && dim % 4 === 0;
  if (bySubgroup) {
    const params = { rows, width: dim / 4, chunk: 16, eps };
    const constants = { VECTORS: Math.ceil(dim / 32) };
    g.run(forwardSubgroup, { x, weight, out, rstd }, params, Math.ceil(rows / 16), constants);
  } else {
    g.run(forward, { x, weight, out, rstd }, { rows, dim, eps }, rows);
  }
  const run = bySubgroup ? backwardBySubgroup : backwardByWorkgroup;
  return g.record(out, [x, weight], (d_out) => run(g, d_out, x, weight, rstd));
}

function backwardBySubgroup(g: Graph, d_out: Tensor, x: Tensor, weight: Tensor, rstd: Tensor) {
  const [rows, dim] = x.shape;
  const weighted = g.needsGrad(weight);
  const chunk = rowsPerChunk(rows);
  const chunks = Math.ceil(rows / chunk);
  const { gradient: d_x, accumulate } = gradientTarget(g, x);
  const partial = g.empty(weighted ? [chunks, dim] : [4]);
  const tensors = { d_out, x, weight, rstd, d_x, partial };
  const constants = { VECTORS: Math.ceil(dim / 32), weighted, accumulate };
  g.run(backwardSubgroup, tensors, { rows, width: dim / 4, chunk }, chunks, constants);
  if (weighted) columnSum(g, partial, g.grad(weight));
  g.scope.release(partial);
}

function backwardByWorkgroup(g: Graph, d_out: Tensor, x: Tensor, weight: Tensor, rstd: Tensor) {
  const [rows, dim] = x.shape;
  if (g.needsGrad(x)) {
    g.run(backward, { d_out, x, weight, rstd, d_x: g.grad(x) }, { rows, dim }, rows);
  }
  if (g.needsGrad(weight)) {
    const chunk = rowsPerChunk(rows);
    const chunks = Math.ceil(rows / chunk);
    const partial = g.empty([chunks, dim]);
    const grid = [Math.ceil(dim / 64), chunks, 1] as const;
    g.run(weightBackward, { d_out, x, rstd, partial }, { rows, dim, chunk }, grid);
    columnSum(g, partial, g.grad(weight));
    g.scope.release(partial);
  }
}

/** Rows that one partial sum covers: a multiple of 4 that leaves at most 64 partial sums to add. */
export function rowsPerChunk(rows: number): number {
  return 4 * Math.max(4, Math.ceil(rows / 256));
}
