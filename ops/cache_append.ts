/**
 * Appending to a key/value cache in place.
 *
 * The cache is one preallocated tensor per layer; slots are written once and never overwritten, so that attention over
 * earlier states of the cache can be differentiated without copies. All its states share one gradient buffer: backward
 * reads a segment's slots back after every later operation has added to them.
 */
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/cache_append_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/cache_append_forward.wgsl" with { type: "text" };
import type { AttentionLayout } from "./attention_layout.ts";
import { byWidth } from "./element_width.ts";
import { gradientTarget } from "./gradient_target.ts";

const forward = byWidth("kernels/cache_append_forward.wgsl", forwardSource);
const backward = byWidth("kernels/cache_append_backward.wgsl", backwardSource);

/**
 * Writes new tokens' rows to their slots of the cache: cache[slots[n]] = x[n].
 * @param x [N, C]
 * @param cache [S, C], changed in place; takes part in training from here on if `x` does
 * @param layout gives each token its slot
 * @returns `cache`
 * @throws {TypeError} when a shape does not fit.
 */
export function cacheAppend(g: Graph, x: Tensor, cache: Tensor, layout: AttentionLayout): Tensor {
  const { numTokens, numSlots } = layout.segment;
  const [rows, columns] = x.shape;
  if (rows !== numTokens || cache.shape[0] !== numSlots || cache.shape[1] !== columns) {
    throw new TypeError(
      `cacheAppend: x is ${x}, cache ${cache}; expected [${numTokens}, ${columns}] and ` +
        `[${numSlots}, ${columns}]`,
    );
  }
  const { slots } = layout;
  const lanes = columns % 4 === 0 ? 4 : 1; // numbers that a lane moves
  const params = { size: x.size / lanes, width: columns / lanes };
  const groups = Math.ceil(params.size / 64);
  g.run(forward(lanes), { slots, x, cache }, params, groups);
  g.recordWrite(cache, [x], (d_cache) => {
    const { gradient: d_x, accumulate } = gradientTarget(g, x);
    const constants = { ACCUMULATE: accumulate };
    g.run(backward(lanes), { slots, d_cache, d_x }, params, groups, constants);
  });
  return cache;
}
