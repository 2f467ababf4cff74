/**
 * Where a backward kernel puts a gradient. Gradients are always added to; but while one is still all zeros, writing
 * is the same as adding and saves a load, and a copy is enough where the upstream gradient passes unchanged.
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
 * The gradient of `x` and whether it must be added to; elements that a kernel does not reach stay as they are.
 * @returns `g.grad(x)`, or memory that nobody reads where no gradient of `x` is wanted
 */
export function gradientTarget(g: Graph, x: Tensor): GradientTarget {
  if (!g.needsGrad(x)) return { gradient: g.empty(x.shape), accumulate: false };
  const accumulate = g.gradIfAny(x) !== undefined;
  return { gradient: g.grad(x), accumulate };
}
