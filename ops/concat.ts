/** Rows laid end to end. */
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import rangeAddSource from "../kernels/range_add.wgsl" with { type: "text" };
import { byWidth } from "./element_width.ts";
import { gradientTarget } from "./gradient_target.ts";

const rangeAdd = byWidth("kernels/range_add.wgsl", rangeAddSource);

/**
 * The rows of several tensors, one tensor after another.
 * @param tensors at least one, [Ni, D] f32
 * @returns [sum of Ni, D]
 * @throws {TypeError} when there is none, or D or the type differs.
 */
export function concat(g: Graph, tensors: readonly Tensor[]): Tensor {
  const dim = tensors[0]?.shape[1];
  const wrong = tensors.find((x) =>
    x.shape.length !== 2 || x.shape[1] !== dim || x.dtype !== "f32"
  );
  if (wrong || tensors.length === 0) {
    throw new TypeError(
      `concat: got ${tensors.join(" ") || "nothing"}; expected [N, D] f32, one D`,
    );
  }
  const out = g.empty([tensors.reduce((sum, x) => sum + x.shape[0], 0), dim]);
  const begins: number[] = [];
  let begin = 0;
  for (const x of tensors) {
    begins.push(begin);
    g.gpu.copy(x, out.rows(begin, begin += x.shape[0]));
  }
  return g.record(out, tensors, (d_out) => {
    tensors.forEach((x, i) => {
      if (!g.needsGrad(x)) return;
      const { gradient, accumulate } = gradientTarget(g, x);
      const rows = x.shape[0];
      if (accumulate) addRows(g, d_out, begins[i], gradient, 0, rows);
      else g.gpu.copy(d_out.rows(begins[i], begins[i] + rows), gradient);
    });
  });
}

/** Adds `rows` rows of `source` from row `from` on to those of `destination` from row `to` on. */
export function addRows(
  g: Graph,
  source: Tensor,
  from: number,
  destination: Tensor,
  to: number,
  rows: number,
): void {
  const lanes = source.shape[1] % 4 === 0 ? 4 : 1;
  const width = source.shape[1] / lanes;
  const params = { count: rows * width, from_begin: from * width, to_begin: to * width };
  g.run(rangeAdd(lanes), { source, destination }, params, Math.ceil(params.count / 64));
}
