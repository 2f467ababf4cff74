/** Columns of a matrix as several dense matrices: GPT-2's fused q, k, v. */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/split_columns_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/split_columns_forward.wgsl" with { type: "text" };

const forward = kernel("kernels/split_columns_forward.wgsl", forwardSource);
const backward = kernel("kernels/split_columns_backward.wgsl", backwardSource);

/**
 * Splits x [N, W] into consecutive column ranges.
 * @param widths number of columns of each part; their sum is W
 * @returns one tensor [N, width] per part
 * @throws {TypeError} when the widths do not add up to W.
 */
export function splitColumns(g: Graph, x: Tensor, widths: readonly number[]): Tensor[] {
  const [rows, width] = x.shape;
  if (widths.reduce((a, b) => a + b, 0) !== width) {
    throw new TypeError(`splitColumns: widths ${widths.join(" + ")} do not add up to ${x}`);
  }
  let begin = 0;
  return widths.map((columns) => {
    const params = { rows, width, begin, columns };
    begin += columns;
    const out = g.empty([rows, columns]);
    const workgroups = Math.ceil(rows * columns / 64);
    g.run(forward, { x, out }, params, workgroups);
    return g.record(out, [x], (d_out) => {
      g.run(backward, { d_out, d_x: g.grad(x) }, params, workgroups);
    });
  });
}
