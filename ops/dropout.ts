/**
 * Dropout by a counter: which elements are dropped is a function of a key and their index, and of nothing else, so that
 * backward, a recomputed block and a resumed run drop the same ones and no mask is kept.
 *
 * Source: Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, JMLR 2014, in the inverted
 * form of torch.nn.Dropout: what is kept is divided by 1 - rate.
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import dropoutSource from "../kernels/dropout.wgsl" with { type: "text" };
import type { Words } from "./random.ts";

const dropoutKernel = kernel("kernels/dropout.wgsl", dropoutSource);

/** Which elements are dropped. */
export interface Dropout {
  /** Share of the elements, at least 0 and below 1. */
  readonly rate: number;
  /** Of their random numbers, used for nothing else. */
  readonly key: Words;
}

/**
 * out = x / (1 - rate) where an element is kept and 0 where it is dropped. It is linear in x and each output depends on
 * its own input alone, so its gradient is itself: of d_out, under the same key, added to d_x.
 * @param x f32 of any shape
 * @param out of the same shape, written, or added to with `accumulate`
 * @throws {TypeError} when the shapes differ, {RangeError} for a rate that is none.
 */
export function dropout(
  g: Graph,
  x: Tensor,
  out: Tensor,
  { rate, key }: Dropout,
  accumulate = false,
): void {
  if (!(rate >= 0 && rate < 1)) {
    throw new RangeError(`dropout: rate must be at least 0 and below 1, got ${rate}`);
  }
  if (x.shape.join() !== out.shape.join()) {
    throw new TypeError(`dropout: x is ${x} but out is ${out}; expected the same shape`);
  }
  const vectors = Math.ceil(x.size / 4);
  const threshold = Math.floor(rate * 2 ** 32);
  const params = { vectors, key_x: key[0], key_y: key[1], threshold, scale: 1 / (1 - rate) };
  g.run(dropoutKernel, { x, out }, params, Math.ceil(vectors / 64), { accumulate });
}
