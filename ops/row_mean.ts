/**
 * The weighted mean of one number per row: the last step of every loss, so that zero rows, rows that do not count and
 * weights follow one rule.
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/row_mean_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/row_mean_forward.wgsl" with { type: "text" };

const forward = kernel("kernels/row_mean_forward.wgsl", forwardSource);
const backward = kernel("kernels/row_mean_backward.wgsl", backwardSource);

/** Weights of the rows in a mean: on the device, with their sum, which the host knows without reading back. */
export interface RowWeights {
  /** f32 [N], none negative; a row of weight 0 may hold anything, NaN included. */
  readonly weights: Tensor;
  /** Sum of the weights; 0 makes the mean 0. */
  readonly total: number;
}

/**
 * Mean of `values` [N] over rows: sum_r w_r v_r / sum_r w_r, times `scale`; plain without `rows`.
 * @returns [1]; 0 with zero gradients when there is no row or no weight
 * @throws {TypeError} when the weights are not one per row.
 */
export function rowMean(g: Graph, values: Tensor, rows?: RowWeights, scale = 1): Tensor {
  const [count] = values.shape;
  if (values.shape.length !== 1 || (rows && rows.weights.size !== count)) {
    throw new TypeError(
      `rowMean: values are ${values} and weights ${rows?.weights ?? "absent"}; expected [N] both`,
    );
  }
  const total = rows ? rows.total : count;
  const factor = total === 0 ? 0 : scale / total;
  const params = { rows: count, weighted: rows ? 1 : 0, factor };
  const out = g.empty([1]);
  g.run(forward, { values, weights: rows?.weights ?? values, out }, params, 1);
  return g.record(out, [values], (d_out) => {
    const d_values = g.grad(values);
    const tensors = { d_out, weights: rows?.weights ?? d_out, d_values };
    g.run(backward, tensors, params, Math.ceil(count / 64));
  });
}
