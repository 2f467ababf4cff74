/**
 * Where a backward kernel puts a gradient. Gradients are always added to; but a kernel that reaches every element may
 * write instead while nothing is there yet, which saves a load, and where the gradient passes unchanged, a kernel.
 */
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";

/** A gradient, and whether it already holds something. */
export interface GradientTarget {
  readonly gradient: Tensor;
  /** False: the gradient is still all zeros. */
  readonly accumulate: boolean;
}

/**
 * The gradient of `x` for a kernel that reaches all of it.
 * @returns `g.grad(x)`, or memory that nobody reads where no gradient of `x` is wanted
 */
export function gradientTarget(g: Graph, x: Tensor): GradientTarget {
  if (!g.needsGrad(x)) return { gradient: g.empty(x.shape), accumulate: false };
  const accumulate = g.gradIfAny(x) !== undefined;
  return { gradient: g.grad(x), accumulate };
}
