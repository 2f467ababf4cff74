/**
 * Self-distillation at one token of each row: the student's hidden states are pulled to the teacher's, layer by layer.
 *
 *   distill = mean over layers l of w_l smooth_l1(student_l, teacher_l), teacher detached
 *   w_l = 1, or 1 / std(teacher_l) over the batch (CODI)
 *
 * A layer's state is the output of a block, the last one's after the final norm: what transformers calls
 * hidden_states[1:]. CODI's code compares hidden_states[0] as well, which is what enters the first block.
 *
 * Source: Shen et al., CODI, arXiv 2502.21074, equations of section 3 and the code (zhenyi4/codi, src/model.py); the
 * published CoLaR code (models/distill.py).
 */
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { ForwardResult } from "../llm/backbone.ts";
import { concat } from "../ops/concat.ts";
import { gather } from "../ops/gather.ts";
import { inverseStd } from "../ops/inverse_std.ts";
import { smoothL1 } from "../ops/smooth_l1.ts";

/** Which states are compared, and how a layer counts. */
export interface DistillationOptions {
  /** Whether what enters the first block is compared as well. */
  readonly withEmbeddings: boolean;
  /** Whether a layer's distance is divided by the standard deviation of the teacher's states. */
  readonly divideByStd: boolean;
}

/**
 * The hidden states of one token per row, layer after layer.
 * @param result of a forward pass with `hiddenStates`
 * @param tokens [B] packed tokens of that pass
 * @returns [layers * B, D]
 */
export function layerStates(
  g: Graph,
  { hidden, hiddenStates }: ForwardResult,
  tokens: Uint32Array,
  { withEmbeddings }: Pick<DistillationOptions, "withEmbeddings">,
): Tensor {
  const layers = [...hiddenStates.slice(withEmbeddings ? 0 : 1, -1), hidden];
  return concat(g, layers.map((states) => gather(g, states, tokens)));
}

/**
 * The distance of the student to the teacher, whom no gradient reaches.
 * @param student [layers * B, D], see `layerStates`
 * @param teacher [layers * B, D]
 * @param numRows B
 * @returns [1]
 */
export function distillation(
  g: Graph,
  student: Tensor,
  teacher: Tensor,
  numRows: number,
  { divideByStd }: Pick<DistillationOptions, "divideByStd">,
): Tensor {
  const target = g.stopGradient(teacher);
  if (!divideByStd) return smoothL1(g, student, target);
  // The total is the number of rows, not of weights: each layer is divided, then all are averaged.
  const weights = inverseStd(g, target, numRows);
  return smoothL1(g, student, target, 1, { weights, total: teacher.shape[0] });
}
