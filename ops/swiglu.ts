/**
 * The gated unit of Llama's MLP: silu(gate) * up.
 *
 * Shazeer, GLU Variants Improve Transformer, 2020 (arXiv 2002.05202).
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/swiglu_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/swiglu_forward.wgsl" with { type: "text" };
import { gradientTarget } from "./gradient_target.ts";

const backward = kernel("kernels/swiglu_backward.wgsl", backwardSource);
const forward = kernel("kernels/swiglu_forward.wgsl", forwardSource);

/**
 * silu(gate) * up, element by element, with silu(x) = x / (1 + exp(-x)).
 * @param gate [N, F] f32
 * @param up [N, F] f32, another tensor
 * @returns [N, F]
 * @throws {TypeError} when the shapes differ or both are the same tensor.
 */
export function swiglu(g: Graph, gate: Tensor, up: Tensor): Tensor {
  if (gate.shape.join() !== up.shape.join()) {
    throw new TypeError(`swiglu: gate is ${gate} but up is ${up}; expected one shape`);
  }
  if (gate === up) throw new TypeError(`swiglu: gate and up are the same tensor ${gate}; copy one`);
  const vectors = Math.ceil(gate.size / 4);
  const out = g.empty(gate.shape);
  g.run(forward, { gate, up, out }, { vectors }, Math.ceil(vectors / 64));
  return g.record(out, [gate, up], (d_out) => {
    const toGate = gradientTarget(g, gate);
    const toUp = gradientTarget(g, up);
    const tensors = { d_out, gate, up, d_gate: toGate.gradient, d_up: toUp.gradient };
    const constants = { accumulate_gate: toGate.accumulate, accumulate_up: toUp.accumulate };
    g.run(backward, tensors, { vectors }, Math.ceil(vectors / 64), constants);
  });
}
