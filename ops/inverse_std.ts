/** The inverse standard deviation of groups of rows: weights by which a loss forgets the scale of its targets. */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import forwardSource from "../kernels/inverse_std_forward.wgsl" with { type: "text" };

const forward = kernel("kernels/inverse_std_forward.wgsl", forwardSource);

/**
 * 1 / std over all numbers of a row's group (divisor count - 1, as torch.Tensor.std), without a gradient.
 * @param x [N, D], groups of `groupRows` consecutive rows
 * @returns [N]
 * @throws {TypeError} when a gradient would have to pass, {RangeError} when N is no multiple of `groupRows` or a group
 * has fewer than two numbers.
 */
export function inverseStd(g: Graph, x: Tensor, groupRows: number): Tensor {
  g.forwardOnly("inverseStd", [x]);
  const [rows, dim] = x.shape;
  if (rows % groupRows !== 0 || groupRows * dim < 2) {
    throw new RangeError(
      `inverseStd: x is ${x} in groups of ${groupRows} rows; expected whole groups of two numbers or more`,
    );
  }
  const out = g.empty([rows]);
  g.run(forward, { x, out }, { rows, dim, group_rows: groupRows }, rows / groupRows);
  return out;
}
