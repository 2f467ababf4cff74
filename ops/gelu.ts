/**
 * The Gaussian error linear unit: exact (erf), and the tanh approximation that GPT-2 calls gelu_new.
 *
 * Hendrycks and Gimpel, Gaussian Error Linear Units, 2016 (arXiv 1606.08415).
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import erfBackwardSource from "../kernels/gelu_backward.wgsl" with { type: "text" };
import erfForwardSource from "../kernels/gelu_forward.wgsl" with { type: "text" };
import tanhBackwardSource from "../kernels/gelu_tanh_backward.wgsl" with { type: "text" };
import tanhForwardSource from "../kernels/gelu_tanh_forward.wgsl" with { type: "text" };
import { gradientTarget } from "./gradient_target.ts";

/** `erf`: x (1 + erf(x / sqrt 2)) / 2; `tanh`: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. */
export type GeluKind = "erf" | "tanh";

const forward = {
  erf: kernel("kernels/gelu_forward.wgsl", erfForwardSource),
  tanh: kernel("kernels/gelu_tanh_forward.wgsl", tanhForwardSource),
};
const backward = {
  erf: kernel("kernels/gelu_backward.wgsl", erfBackwardSource),
  tanh: kernel("kernels/gelu_tanh_backward.wgsl", tanhBackwardSource),
};

/**
 * GELU, element by element.
 * @param x f32 of any shape
 * @param kind which of the two formulas
 * @returns the shape of `x`
 */
export function gelu(g: Graph, x: Tensor, kind: GeluKind): Tensor {
  const vectors = Math.ceil(x.size / 4);
  const out = g.empty(x.shape);
  g.run(forward[kind], { x, out }, { vectors }, Math.ceil(vectors / 64));
  return g.record(out, [x], (d_out) => {
    const { gradient: d_x, accumulate } = gradientTarget(g, x);
    const tensors = { d_out, x, d_x };
    g.run(backward[kind], tensors, { vectors }, Math.ceil(vectors / 64), { accumulate });
  });
}
