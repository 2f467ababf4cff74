/**
 * The causal language-model loss over packed rows: the label of a token is predicted from the token before it in its
 * row, and only tokens that predict a label reach the vocabulary.
 */
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone } from "../llm/backbone.ts";
import { crossEntropy } from "../ops/cross_entropy.ts";
import { gather } from "../ops/gather.ts";

/** The label of a token that is not supervised, as everywhere in PyTorch. */
export const IGNORED = -100;

/** Tokens that predict a label, and their labels. */
export interface Predictions {
  /** [M] indices of packed tokens. */
  readonly tokens: Uint32Array;
  /** [M] token ids. */
  readonly labels: Uint32Array;
}

/**
 * Finds what is predicted.
 * @param labels [N]: the token's own id where it is supervised, else `IGNORED`; none for the first token of a row
 */
export function predictions(labels: ArrayLike<number>): Predictions {
  const supervised = Array.from(labels, (_, i) => i).filter((i) => labels[i] !== IGNORED);
  return {
    tokens: Uint32Array.from(supervised, (i) => i - 1),
    labels: Uint32Array.from(supervised, (i) => labels[i]),
  };
}

/**
 * Mean cross-entropy over all supervised tokens of the batch.
 * @param hidden [N, D], after the final norm
 * @param labels [N], see `predictions`
 * @returns [1]
 */
export function languageLoss(
  g: Graph,
  backbone: Backbone,
  hidden: Tensor,
  labels: ArrayLike<number>,
): Tensor {
  const { tokens, labels: ids } = predictions(labels);
  return crossEntropy(g, gather(g, hidden, tokens), backbone.head, ids);
}
