/** A range of rows. */
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { addRows } from "./concat.ts";
import { gradientTarget } from "./gradient_target.ts";

/**
 * Rows `begin` to `end` (exclusive) of `x`, copied.
 * @param x [N, D] f32
 * @returns [end - begin, D]
 * @throws {RangeError} when the rows are not there, {TypeError} when x is not [N, D] f32.
 */
export function slice(g: Graph, x: Tensor, begin: number, end: number): Tensor {
  if (x.shape.length !== 2 || x.dtype !== "f32") {
    throw new TypeError(`slice: x is ${x}; expected [N, D] f32`);
  }
  const part = x.rows(begin, end);
  const out = g.empty(part.shape);
  g.gpu.copy(part, out);
  return g.record(out, [x], (d_out) => {
    const { gradient, accumulate } = gradientTarget(g, x);
    if (accumulate) addRows(g, d_out, 0, gradient, begin, end - begin);
    else g.gpu.copy(d_out, gradient.rows(begin, end));
  });
}
