/**
 * Log-probabilities of labels under a language-model head, and the cross-entropy loss made of them.
 *
 * Only rows that have a label should be passed (gather them first). Logits exist for a tile of rows at a time, at most
 * `maxLogitBytes`: a tile's logits are made, reduced to one number per row, and overwritten by the next tile's. Backward
 * walks the tiles from the last one, whose logits are still there, makes the others' again, and turns them in place
 * into their gradient. So one tile, the usual case, costs no second product; and any upstream gradient is right.
 * The idea of chunks is Liger-Kernel's (arXiv 2410.10989).
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/cross_entropy_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/cross_entropy_forward.wgsl" with { type: "text" };
import { matmulNN, matmulNT, matmulTN } from "./linear.ts";
import { rowMean, type RowWeights } from "./row_mean.ts";

const forward = kernel("kernels/cross_entropy_forward.wgsl", forwardSource);
const backward = kernel("kernels/cross_entropy_backward.wgsl", backwardSource);

const MAX_LOGIT_BYTES = 128 << 20;
const ROW_STEP = 64; // rows of a tile are a multiple: every offset is then aligned, whatever the row length

/** How log-probabilities are computed. */
export interface LogProbOptions {
  /** [D, V rounded up to 4]: a copy of a frozen weight's transpose, padded by zeros, for a faster input gradient. */
  readonly transposed?: Tensor;
  /** Bytes of logits that exist at a time; at least 64 rows do. @default {128 MiB, or the largest binding} */
  readonly maxLogitBytes?: number;
}

/** How a cross-entropy is computed. */
export interface CrossEntropyOptions extends LogProbOptions {
  /** Weights of the rows in the mean; without them every row counts once. */
  readonly rows?: RowWeights;
}

/**
 * Cross-entropy: the mean over rows of -log softmax(hidden W^T)[label].
 * @param hidden [M, D], the rows that have a label
 * @param weight [V, D], f32, or bf16 or f16 for a frozen head
 * @param labels [M], on the host (checked) or u32 on the device (not checked)
 * @returns [1]; 0 with zero gradients when there is no row
 * @throws {TypeError} when shapes do not fit; {RangeError} for a label on the host that is no row of the weight.
 */
export function crossEntropy(
  g: Graph,
  hidden: Tensor,
  weight: Tensor,
  labels: Uint32Array | Tensor,
  options: CrossEntropyOptions = {},
): Tensor {
  return rowMean(g, logProbs(g, hidden, weight, labels, options), options.rows, -1);
}

/**
 * log softmax(hidden W^T)[label] of each row, with gradients for hidden and an f32 weight.
 * @param hidden [M, D], the rows that have a label
 * @param weight [V, D], f32, or bf16 or f16 for a frozen head
 * @param labels [M], on the host (checked) or u32 on the device (not checked)
 * @returns [M]
 * @throws {TypeError} when shapes do not fit; {RangeError} for a label on the host that is no row of the weight.
 */
export function logProbs(
  g: Graph,
  hidden: Tensor,
  weight: Tensor,
  labels: Uint32Array | Tensor,
  options: LogProbOptions = {},
): Tensor {
  checkShapes(hidden, weight, labels, options.transposed);
  const ids = labels instanceof Uint32Array ? g.scope.upload(labels) : labels;
  const [count] = hidden.shape;
  const [vocab] = weight.shape;
  const stride = paddedVocabulary(vocab);
  const tileRows = rowsOfTile(g, stride, options.maxLogitBytes);
  const tiles = Array.from({ length: Math.ceil(count / tileRows) }, (_, i) => {
    const first = i * tileRows;
    return { first, rows: Math.min(tileRows, count - first) };
  });
  const logits = g.empty([Math.min(count, tileRows), stride]);
  const lse = g.empty([count]);
  const log_prob = g.empty([count]);
  const lanes = vocab > 8192 && !g.gpu.isSoftware ? 64 : 8;
  for (const { first, rows } of tiles) {
    const tile = logits.rows(0, rows);
    matmulNT(g, hidden.rows(first, first + rows), weight, tile);
    const tensors = { logits: tile, labels: ids, lse, log_prob };
    const groups = Math.ceil(rows * lanes / 64);
    g.run(forward, tensors, { rows, vocab, stride, first }, groups, { LANES: lanes });
  }
  if (!g.needsGrad(hidden) && !g.needsGrad(weight)) g.scope.release(logits);
  return g.record(log_prob, [hidden, weight], (d_out) => {
    for (const { first, rows } of tiles.toReversed()) {
      const tile = logits.rows(0, rows);
      const x = hidden.rows(first, first + rows);
      if (first + rows < count) matmulNT(g, x, weight, tile);
      const tensors = { labels: ids, lse, d_out, logits: tile };
      const grid = [Math.ceil(stride / 512), Math.ceil(rows / 8), 1] as const;
      g.run(backward, tensors, { rows, vocab, stride, first }, grid);
      if (g.needsGrad(hidden)) {
        const d_x = g.grad(hidden).rows(first, first + rows);
        if (options.transposed) matmulNT(g, tile, options.transposed, d_x, { accumulate: true });
        else matmulNN(g, tile, weight, d_x);
      }
      if (g.needsGrad(weight)) matmulTN(g, tile, x, g.grad(weight));
    }
    g.scope.release(logits);
  });
}

/**
 * The logits hidden W^T themselves, for generation and tests; without gradient.
 * @param hidden [M, D]
 * @param weight [V, D], f32, bf16 or f16
 * @returns [M, V rounded up to a multiple of 4]; the columns from V on are undefined
 * @throws {TypeError} when shapes do not fit or a gradient would be needed.
 */
export function logits(g: Graph, hidden: Tensor, weight: Tensor): Tensor {
  g.forwardOnly("logits", [hidden]);
  const out = g.empty([hidden.shape[0], paddedVocabulary(weight.shape[0])]);
  matmulNT(g, hidden, weight, out);
  return out;
}

/** Columns of a row of logits: the vocabulary rounded up to a multiple of 4. */
export function paddedVocabulary(vocab: number): number {
  return 4 * Math.ceil(vocab / 4);
}

function rowsOfTile(g: Graph, stride: number, maxLogitBytes = MAX_LOGIT_BYTES): number {
  const bytes = Math.min(maxLogitBytes, g.gpu.limits.maxBinding);
  return ROW_STEP * Math.max(1, Math.floor(bytes / (4 * stride * ROW_STEP)));
}

function checkShapes(
  hidden: Tensor,
  weight: Tensor,
  labels: Uint32Array | Tensor,
  transposed: Tensor | undefined,
): void {
  const [count, dim] = hidden.shape;
  const [vocab, inner] = weight.shape;
  if (hidden.shape.length !== 2 || weight.shape.length !== 2 || dim !== inner || vocab === 0) {
    throw new TypeError(
      `crossEntropy: hidden is ${hidden} but weight is ${weight}; expected [M, D] and [V, D]`,
    );
  }
  if (labels instanceof Uint32Array) {
    if (labels.length !== count) {
      throw new TypeError(`crossEntropy: ${labels.length} labels for hidden ${hidden}`);
    }
    const wrong = labels.find((label) => label >= vocab);
    if (wrong !== undefined) {
      throw new RangeError(`crossEntropy: label ${wrong} is not below the vocabulary's ${vocab}`);
    }
  } else if (labels.dtype !== "u32" || labels.size !== count) {
    throw new TypeError(`crossEntropy: labels are ${labels}; expected u32 [${count}]`);
  }
  if (transposed && `${transposed.shape}` !== `${[dim, paddedVocabulary(vocab)]}`) {
    throw new TypeError(
      `crossEntropy: weight is ${weight} but transposed is ${transposed}; ` +
        `expected [${dim}, ${paddedVocabulary(vocab)}]`,
    );
  }
}
