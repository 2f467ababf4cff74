/** Mean squared error, row by row or over (weighted) rows. Gradients flow to both sides. */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/mse_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/mse_forward.wgsl" with { type: "text" };
import { rowMean, type RowWeights } from "./row_mean.ts";

const forward = kernel("kernels/mse_forward.wgsl", forwardSource);
const backward = kernel("kernels/mse_backward.wgsl", backwardSource);

/**
 * Mean over D of (x - target)^2, then the mean over rows.
 * @param x [N, D]
 * @param target [N, D]; stopGradient it where no gradient should reach it
 * @param rows weights of the rows; without them every row counts once
 * @returns [1]; 0 with zero gradients when no row counts
 * @throws {TypeError} when the shapes differ or are not [N, D].
 */
export function mse(g: Graph, x: Tensor, target: Tensor, rows?: RowWeights): Tensor {
  return rowMean(g, squaredError(g, x, target), rows);
}

/**
 * Mean over D of (x - target)^2 for each row.
 * @param x [N, D]
 * @param target [N, D]
 * @returns [N]
 * @throws {TypeError} when the shapes differ or are not [N, D].
 */
export function squaredError(g: Graph, x: Tensor, target: Tensor): Tensor {
  if (x.shape.length !== 2 || `${x.shape}` !== `${target.shape}`) {
    throw new TypeError(`mse: x is ${x} but target is ${target}; expected [N, D] both`);
  }
  const [rows, dim] = x.shape;
  const groups = Math.ceil(rows / 8);
  const out = g.empty([rows]);
  g.run(forward, { x, goal: target, out }, { rows, dim }, groups);
  return g.record(out, [x, target], (d_out) => {
    for (const [input, sign] of [[x, 1], [target, -1]] as const) {
      if (!g.needsGrad(input)) continue;
      const tensors = { x, goal: target, d_out, d_x: g.grad(input) };
      g.run(backward, tensors, { rows, dim, sign }, groups);
    }
  });
}
