/**
 * Checkpointing: of a block only the output is kept; backward runs the block again for what its gradients need.
 *
 * Costs one more forward of the block and saves the memory of everything in between, so that only one block's
 * intermediates live at any time. Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016 (arXiv 1604.06174).
 */
import type { Tensor } from "../gpu/tensor.ts";
import { Graph } from "./tape.ts";

/**
 * Runs a block now and again in backward; its value and gradients are those of `block(g)`, bit for bit.
 *
 * The block must compute the same numbers both times (random ones by a counter) and must use the graph that it is
 * given, for in it lie the tensors that end with the block.
 * @param g the graph around the block; when it is not training, only the block's output outlives it as well
 * @param block the computation, from tensors made outside to one output
 * @param inputs what the block reads besides parameters; must live until backward
 * @returns the block's output, in the scope of `g`
 */
export function checkpoint(g: Graph, block: (g: Graph) => Tensor, inputs: Tensor[]): Tensor {
  if (!g.training) return runOnce(g, block);
  // Recorded and then dropped: only so is it known whether anything in the block is trained.
  using scope = g.gpu.scope();
  const first = new Graph(g.gpu, scope, { parent: g });
  const out = block(first);
  if (!scope.owns(out)) return out; // the block handed an outer tensor through
  scope.move(out, g.scope);
  if (!first.needsGrad(out)) return out;
  // Watched, since a block may be trained inside although no input is.
  return g.record(g.watch(out), [...inputs, out], (d_out) => {
    using again = g.gpu.scope();
    const second = new Graph(g.gpu, again, { parent: g });
    second.backward([block(second), d_out]);
  });
}

/** Runs a block without gradients; what it made ends with it. */
function runOnce(g: Graph, block: (g: Graph) => Tensor): Tensor {
  using scope = g.gpu.scope();
  const out = block(new Graph(g.gpu, scope, { training: false }));
  if (scope.owns(out)) scope.move(out, g.scope);
  return out;
}
