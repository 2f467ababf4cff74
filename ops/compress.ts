/**
 * CoLaR's compression: the embeddings of consecutive tokens pooled into one, divided by their number (mean) or by its
 * square root, which keeps the variance of independent embeddings.
 */
import type { Graph } from "../autograd/tape.ts";
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/compress_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/compress_forward.wgsl" with { type: "text" };
import { byWidth } from "./element_width.ts";
import { gradientTarget } from "./gradient_target.ts";

const backward = byWidth("kernels/compress_backward.wgsl", backwardSource);
const forward = byWidth("kernels/compress_forward.wgsl", forwardSource);

/** How a group is scaled. */
export interface CompressOptions {
  /** Divide by the square root of the number of tokens, else by the number. */
  readonly sqrtMean: boolean;
}

/**
 * Uploads groups of consecutive tokens ahead of a step.
 * @param offsets [G + 1]: group i is tokens offsets[i] to offsets[i + 1] (exclusive)
 * @param numTokens number of tokens that there are
 * @throws {RangeError} when the offsets decrease or pass the last token.
 */
export function compressGroups(scope: Scope, offsets: Uint32Array, numTokens: number): Tensor {
  const at = offsets.findIndex((offset, i) => offset > (offsets[i + 1] ?? numTokens));
  if (at >= 0 || offsets.length === 0) {
    throw new RangeError(
      `compress: offsets must be one or more numbers that rise to at most ${numTokens} tokens, ` +
        `got ${offsets.slice(Math.max(0, at), at + 2).join(", ") || "none"}`,
    );
  }
  return scope.upload(offsets);
}

/**
 * One embedding a group: the sum of its tokens' embeddings / (s + 1e-5), s the number of tokens or its square root.
 * @param x [N, D] f32 token embeddings
 * @param groups [G + 1] offsets, on the host or from `compressGroups`; an empty group gives zeros
 * @returns [G, D]
 * @throws {TypeError} when x is not [N, D] f32, {RangeError} when the offsets do not fit.
 */
export function compress(
  g: Graph,
  x: Tensor,
  groups: Uint32Array | Tensor,
  { sqrtMean }: CompressOptions,
): Tensor {
  if (x.shape.length !== 2 || x.dtype !== "f32") {
    throw new TypeError(`compress: x is ${x}; expected [N, D] f32`);
  }
  const [numTokens, dim] = x.shape;
  const offsets = groups instanceof Uint32Array
    ? compressGroups(g.scope, groups, numTokens)
    : groups;
  const count = offsets.size - 1;
  const workgroups = Math.ceil(count / 8);
  const out = g.empty([count, dim]);
  const lanes = dim % 4 === 0 ? 4 : 1;
  const params = { count, width: dim / lanes };
  g.run(forward(lanes), { x, offsets, out }, params, workgroups, { sqrt_mean: sqrtMean });
  return g.record(out, [x], (d_out) => {
    const { gradient: d_x, accumulate } = gradientTarget(g, x);
    const constants = { sqrt_mean: sqrtMean, accumulate };
    g.run(backward(lanes), { d_out, offsets, d_x }, params, workgroups, constants);
  });
}
