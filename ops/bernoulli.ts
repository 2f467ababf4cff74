/** The log-probability of a decision, from the log-probability of one of its two outcomes. */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/bernoulli_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/bernoulli_forward.wgsl" with { type: "text" };

const forward = kernel("kernels/bernoulli_forward.wgsl", forwardSource);
const backward = kernel("kernels/bernoulli_backward.wgsl", backwardSource);

/**
 * log p where the event happened, log(1 - p) where it did not; 1 - p is kept at 2^-24 or above.
 * @param logProb [N], log p of each event, at most 0
 * @param happened [N], 1 or 0
 * @returns [N]
 * @throws {TypeError} when the sizes differ.
 */
export function bernoulliLogProb(g: Graph, logProb: Tensor, happened: Uint32Array): Tensor {
  if (logProb.shape.join() !== `${happened.length}`) {
    throw new TypeError(
      `bernoulliLogProb: logProb is ${logProb} for ${happened.length} outcomes; expected [N] both`,
    );
  }
  const tensors = { log_prob: logProb, happened: g.scope.upload(happened) };
  const params = { size: logProb.size };
  const groups = Math.ceil(logProb.size / 64);
  const out = g.empty(logProb.shape);
  g.run(forward, { ...tensors, out }, params, groups);
  return g.record(out, [logProb], (d_out) => {
    g.run(backward, { ...tensors, d_out, d_log_prob: g.grad(logProb) }, params, groups);
  });
}
