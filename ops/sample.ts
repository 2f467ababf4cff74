/**
 * Choosing the next token on the device: temperature, top-k, top-p (in this order, by the rules of Hugging Face's
 * transformers), then a draw by one uniform number per row; or the largest logit. No sorting, no read-back.
 *
 * Ties: top-k keeps every logit equal to the k-th largest; where top-p's edge falls between equal logits, the lowest
 * ids are kept; greedy takes the lowest id.
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import edgeSource from "../kernels/filter_edge.wgsl" with { type: "text" };
import filterSource from "../kernels/filter_probabilities.wgsl" with { type: "text" };
import categoricalSource from "../kernels/sample_categorical.wgsl" with { type: "text" };
import greedySource from "../kernels/sample_greedy.wgsl" with { type: "text" };
import temperSource from "../kernels/temper_logits.wgsl" with { type: "text" };
import { unrolledKernel } from "./unroll.ts";

const temperKernel = kernel("kernels/temper_logits.wgsl", temperSource);
const edgeKernel = unrolledKernel("kernels/filter_edge.wgsl", edgeSource);
const filterKernel = kernel("kernels/filter_probabilities.wgsl", filterSource);
const categoricalKernel = kernel("kernels/sample_categorical.wgsl", categoricalSource);
const greedyKernel = kernel("kernels/sample_greedy.wgsl", greedySource);

const MAX_VOCAB = 1 << 18;

/** Which logits take part. */
export interface LogitOptions {
  /** Columns that are tokens; rows of logits may be longer. @default {all columns} */
  readonly vocab?: number;
  /** Ids that are never chosen: a short list, checked on the host, or u32 on the device, not checked. */
  readonly suppressed?: readonly number[] | Tensor;
}

/** Which tokens are kept, and how likely they become. */
export interface FilterOptions extends LogitOptions {
  /** Logits are divided by it; above 0. @default {1} */
  readonly temperature?: number;
  /** Keep the k best; 0 keeps all. @default {0} */
  readonly topK?: number;
  /** Keep the likeliest tokens that together reach this probability; 1 keeps all. @default {1} */
  readonly topP?: number;
}

/** What was chosen for each row. */
export interface Choice {
  /** u32 [B], token ids. */
  readonly tokens: Tensor;
  /** f32 [B], log-probability under the filtered distribution that the token was drawn from. */
  readonly logProb: Tensor;
  /** f32 [B], log softmax of the plain logits: temperature 1, nothing filtered or suppressed. */
  readonly fullLogProb: Tensor;
}

/**
 * Draws a token for each row: the smallest id whose cumulative probability, ids ascending, exceeds the row's number.
 * @param logits [B, S], S at least the vocabulary
 * @param uniforms [B], numbers in [0, 1) (see random.ts)
 * @throws {TypeError} when shapes do not fit or a gradient would be needed; {RangeError} for an option out of range.
 */
export function sample(
  g: Graph,
  logits: Tensor,
  uniforms: Tensor,
  options: FilterOptions = {},
): Choice {
  const { rows, vocab, stride, constants } = checkLogits(g, "sample", logits, options);
  if (uniforms.size !== rows) {
    throw new TypeError(`sample: uniforms are ${uniforms}; expected [${rows}]`);
  }
  const { probabilities, lse } = filtered(g, logits, options);
  const out = emptyChoice(g, rows);
  const tensors = {
    probabilities,
    uniform_numbers: uniforms,
    logits,
    lse,
    tokens: out.tokens,
    log_prob: out.logProb,
    full_log_prob: out.fullLogProb,
  };
  g.run(categoricalKernel, tensors, { rows, vocab, stride }, rows, constants);
  g.scope.release(probabilities);
  g.scope.release(lse);
  return out;
}

/**
 * Takes the largest logit of each row, the lowest id of equal ones; its `logProb` is 0.
 * @param logits [B, S], S at least the vocabulary
 * @throws {TypeError} when shapes do not fit or a gradient would be needed; {RangeError} for an option out of range.
 */
export function greedy(g: Graph, logits: Tensor, options: LogitOptions = {}): Choice {
  const { rows, vocab, stride, constants } = checkLogits(g, "greedy", logits, options);
  const { suppressed, num_suppressed } = uploadSuppressed(g, options.suppressed);
  const out = emptyChoice(g, rows);
  const tensors = {
    logits,
    suppressed,
    tokens: out.tokens,
    log_prob: out.logProb,
    full_log_prob: out.fullLogProb,
  };
  g.run(greedyKernel, tensors, { rows, vocab, stride, num_suppressed }, rows, constants);
  return out;
}

/**
 * The distribution that `sample` draws from.
 * @param logits [B, S], S at least the vocabulary
 * @returns [B, V], 0 where a token is dropped
 * @throws {TypeError} when shapes do not fit or a gradient would be needed; {RangeError} for an option out of range.
 */
export function filterProbabilities(
  g: Graph,
  logits: Tensor,
  options: FilterOptions = {},
): Tensor {
  const { probabilities, lse } = filtered(g, logits, options);
  g.scope.release(lse);
  return probabilities;
}

function filtered(
  g: Graph,
  logits: Tensor,
  options: FilterOptions,
): { probabilities: Tensor; lse: Tensor } {
  const { rows, vocab, stride, constants } = checkLogits(g, "sample", logits, options);
  const { temperature = 1, topK = 0, topP = 1 } = options;
  checkFilter(temperature, topK, topP);
  const { suppressed, num_suppressed } = uploadSuppressed(g, options.suppressed);
  const probabilities = g.empty([rows, vocab]);
  const peaks = g.empty([rows]);
  const lse = g.empty([rows]);
  const sizes = { rows, vocab, stride, num_suppressed };
  const tensors = { logits, suppressed, out: probabilities, peaks, lse };
  g.run(temperKernel, tensors, { ...sizes, temperature }, rows, constants);
  // transformers does not build the filter at 1, where it could only drop what has no probability left.
  const limit = topP < 1 ? 1 - topP : -1;
  const edges = g.empty([rows], "u32");
  const ties = g.empty([rows]);
  const totals = g.empty([rows]);
  const cut = { s: probabilities, peaks, edges, ties, totals };
  const cutParams = { rows, vocab, top_k: topK, limit };
  g.run(edgeKernel({ ...constants, CACHED: cachedPerLane(g, vocab) }), cut, cutParams, rows);
  g.run(filterKernel, cut, { rows, vocab }, rows, constants);
  for (const t of [peaks, edges, ties, totals]) g.scope.release(t);
  return { probabilities, lse };
}

function emptyChoice(g: Graph, rows: number): Choice {
  return { tokens: g.empty([rows], "u32"), logProb: g.empty([rows]), fullLogProb: g.empty([rows]) };
}

function uploadSuppressed(
  g: Graph,
  suppressed: readonly number[] | Tensor = [],
): { suppressed: Tensor; num_suppressed: number } {
  if (!Array.isArray(suppressed)) {
    const tensor = suppressed as Tensor;
    return { suppressed: tensor, num_suppressed: tensor.size };
  }
  const ids = Uint32Array.from(suppressed);
  return {
    suppressed: ids.length > 0 ? g.scope.upload(ids) : g.empty([0], "u32"),
    num_suppressed: ids.length,
  };
}

function checkLogits(
  g: Graph,
  operation: string,
  logits: Tensor,
  { vocab = logits.shape[1], suppressed }: LogitOptions,
) {
  g.forwardOnly(operation, [logits]);
  const [rows, stride] = logits.shape;
  if (logits.shape.length !== 2 || !(vocab >= 1 && vocab <= stride)) {
    throw new TypeError(`${operation}: logits are ${logits}; expected [B, S], S >= vocab ${vocab}`);
  }
  if (Array.isArray(suppressed)) {
    const wrong = suppressed.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocab));
    if (wrong !== undefined) {
      throw new RangeError(
        `${operation}: suppressed id ${wrong} is not below the vocabulary's ${vocab}`,
      );
    }
    if (new Set(suppressed).size >= vocab) {
      throw new RangeError(`${operation}: all ${vocab} tokens are suppressed; leave at least one`);
    }
  }
  const lanes = lanesOfRow(g, operation, vocab);
  return { rows, vocab, stride, constants: { LANES: lanes } };
}

/**
 * Lanes that share a row. Software Vulkan runs few lanes faster, because barriers cost it more than passes do, but it
 * leaves every loop once an invocation has done 65535 rounds of all its loops (Mesa, LP_MAX_TGSI_LOOP_ITERATIONS): about
 * 40 passes over the row must fit.
 */
function lanesOfRow(g: Graph, operation: string, vocab: number): number {
  if (vocab > MAX_VOCAB) {
    throw new RangeError(`${operation}: at most ${MAX_VOCAB} tokens, got a vocabulary of ${vocab}`);
  }
  if (vocab > 65536) return 256;
  if (g.gpu.isSoftware) return vocab > 8192 ? 64 : 8;
  return vocab > 8192 ? 256 : 64;
}

/** Numbers of a row that a lane keeps in registers while the row is searched: all or, to bound them, one. */
function cachedPerLane(g: Graph, vocab: number): number {
  return g.gpu.isSoftware && vocab <= 8 * 96 ? Math.ceil(vocab / 8) : 1;
}

function checkFilter(temperature: number, topK: number, topP: number): void {
  if (!(temperature > 0)) {
    throw new RangeError(`sample: temperature must be above 0, got ${temperature}; use greedy()`);
  }
  if (!Number.isInteger(topK) || topK < 0) {
    throw new RangeError(`sample: topK must be a whole number >= 0 (0: off), got ${topK}`);
  }
  if (!(topP >= 0 && topP <= 1)) {
    throw new RangeError(`sample: topP must be from 0 to 1 (1: off), got ${topP}`);
  }
}
