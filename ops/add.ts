/** Weighted sums of tensors of one shape: residual connections, and totals of losses. */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/add_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/add_forward.wgsl" with { type: "text" };
import { gradientTarget } from "./gradient_target.ts";

const backward = kernel("kernels/add_backward.wgsl", backwardSource);
const forward = kernel("kernels/add_forward.wgsl", forwardSource);

/** Factors of the two terms. */
export interface AddOptions {
  /** @default {1} */
  readonly alpha?: number;
  /** @default {1} */
  readonly beta?: number;
}

/** One term of a total. */
export interface Term {
  /** [1] f32 */
  readonly x: Tensor;
  readonly weight: number;
}

/**
 * alpha a + beta b, element by element.
 * @param a f32 of any shape
 * @param b f32 of the same shape; may be `a` itself
 * @returns the shape of `a`
 * @throws {TypeError} when the shapes differ.
 */
export function add(
  g: Graph,
  a: Tensor,
  b: Tensor,
  { alpha = 1, beta = 1 }: AddOptions = {},
): Tensor {
  if (a.shape.join() !== b.shape.join()) {
    throw new TypeError(`add: a is ${a} but b is ${b}; expected one shape`);
  }
  const vectors = Math.ceil(a.size / 4);
  const out = g.empty(a.shape);
  g.run(forward, { a, b, out }, { vectors, alpha, beta }, Math.ceil(vectors / 64));
  return g.record(out, [a, b], (d_out) => {
    addScaled(g, a, d_out, alpha);
    addScaled(g, b, d_out, beta);
  });
}

/** x times a number, with its gradient. */
export function scale(g: Graph, x: Tensor, factor: number): Tensor {
  return add(g, x, x, { alpha: factor, beta: 0 });
}

/**
 * The weighted sum of numbers: a step's total loss.
 * @param terms at least one
 * @returns [1]
 * @throws {TypeError} when there is no term or one is not [1].
 */
export function sum(g: Graph, terms: readonly Term[]): Tensor {
  const wrong = terms.find(({ x }) => x.shape.join() !== "1");
  if (wrong || terms.length === 0) {
    throw new TypeError(`sum: expected one or more tensors [1], got ${wrong?.x ?? "none"}`);
  }
  const [first, ...rest] = terms;
  if (rest.length === 0) return scale(g, first.x, first.weight);
  let [total, alpha] = [first.x, first.weight];
  for (const { x, weight } of rest) {
    total = add(g, total, x, { alpha, beta: weight });
    alpha = 1;
  }
  return total;
}

function addScaled(g: Graph, x: Tensor, d_out: Tensor, factor: number): void {
  if (factor === 0 || !g.needsGrad(x)) return;
  const { gradient: d_x, accumulate } = gradientTarget(g, x);
  if (factor === 1 && !accumulate) {
    g.gpu.copy(d_out, d_x);
    return;
  }
  const vectors = Math.ceil(x.size / 4);
  g.run(backward, { d_out, d_x }, { vectors, factor }, Math.ceil(vectors / 64));
}
