/**
 * Smooth L1 (Huber) loss, row by row or over (weighted) rows. Gradients flow to both sides.
 * Girshick, Fast R-CNN, 2015; PyTorch's smooth_l1_loss.
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/smooth_l1_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/smooth_l1_forward.wgsl" with { type: "text" };
import { rowMean, type RowWeights } from "./row_mean.ts";

const forward = kernel("kernels/smooth_l1_forward.wgsl", forwardSource);
const backward = kernel("kernels/smooth_l1_backward.wgsl", backwardSource);

/**
 * Mean over D of the smooth L1 distance, then the mean over rows.
 * @param x [N, D]
 * @param target [N, D]; stopGradient it where no gradient should reach it
 * @param beta where the square becomes linear, >= 0; 0 is the absolute value
 * @param rows weights of the rows; without them every row counts once
 * @returns [1]; 0 with zero gradients when no row counts
 * @throws {TypeError} when the shapes differ or are not [N, D]; {RangeError} when beta is negative.
 */
export function smoothL1(
  g: Graph,
  x: Tensor,
  target: Tensor,
  beta = 1,
  rows?: RowWeights,
): Tensor {
  return rowMean(g, smoothDistance(g, x, target, beta), rows);
}

/**
 * Mean over D of the smooth L1 distance for each row.
 * @param x [N, D]
 * @param target [N, D]
 * @returns [N]
 * @throws {TypeError} when the shapes differ or are not [N, D]; {RangeError} when beta is negative.
 */
export function smoothDistance(g: Graph, x: Tensor, target: Tensor, beta = 1): Tensor {
  if (x.shape.length !== 2 || `${x.shape}` !== `${target.shape}`) {
    throw new TypeError(`smoothL1: x is ${x} but target is ${target}; expected [N, D] both`);
  }
  if (!(beta >= 0)) throw new RangeError(`smoothL1: beta must be 0 or above, got ${beta}`);
  const [rows, dim] = x.shape;
  const groups = Math.ceil(rows / 8);
  const out = g.empty([rows]);
  g.run(forward, { x, goal: target, out }, { rows, dim, beta }, groups);
  return g.record(out, [x, target], (d_out) => {
    for (const [input, sign] of [[x, 1], [target, -1]] as const) {
      if (!g.needsGrad(input)) continue;
      const tensors = { x, goal: target, d_out, d_x: g.grad(input) };
      g.run(backward, tensors, { rows, dim, beta, sign }, groups);
    }
  });
}
