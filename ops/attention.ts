/**
 * Causal attention with grouped query heads over packed rows, keys and values from an append-only cache.
 *
 * Forward keeps only the output and the log-sum-exp; backward recomputes the weights in two dispatches: the gradient of
 * the queries (with delta = d_out . out), then that of keys and values. Every gradient element has one owner, so there
 * are no atomics and two runs are bit-identical. Dao, FlashAttention-2, 2023 (arXiv 2307.08691).
 */
import type { Graph } from "../autograd/tape.ts";
import type { Constants, Kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardKeysSource from "../kernels/attention_backward_keys.wgsl" with { type: "text" };
import backwardKeysSubgroupSource from "../kernels/attention_backward_keys_subgroup.wgsl" with {
  type: "text",
};
import backwardQueriesSource from "../kernels/attention_backward_queries.wgsl" with {
  type: "text",
};
import backwardQueriesSubgroupSource from "../kernels/attention_backward_queries_subgroup.wgsl" with {
  type: "text",
};
import decodeSubgroupSource from "../kernels/attention_decode_subgroup.wgsl" with {
  type: "text",
};
import forwardSource from "../kernels/attention_forward.wgsl" with { type: "text" };
import forwardSubgroupSource from "../kernels/attention_forward_subgroup.wgsl" with {
  type: "text",
};
import type { AttentionLayout } from "./attention_layout.ts";
import { gradientTarget } from "./gradient_target.ts";
import { type GpuUnrolledKernel, gpuUnrolledKernel, unrolledKernel } from "./unroll.ts";

export {
  AttentionLayout,
  layoutSegment,
  type Segment,
  type SegmentRow,
  wholeRows,
} from "./attention_layout.ts";

const portable = {
  forward: gpuUnrolledKernel("kernels/attention_forward.wgsl", forwardSource),
  queries: gpuUnrolledKernel("kernels/attention_backward_queries.wgsl", backwardQueriesSource),
  keys: gpuUnrolledKernel("kernels/attention_backward_keys.wgsl", backwardKeysSource),
};
const subgroup = {
  forward: unrolledKernel("kernels/attention_forward_subgroup.wgsl", forwardSubgroupSource),
  decode: unrolledKernel("kernels/attention_decode_subgroup.wgsl", decodeSubgroupSource),
  queries: unrolledKernel(
    "kernels/attention_backward_queries_subgroup.wgsl",
    backwardQueriesSubgroupSource,
  ),
  keys: unrolledKernel(
    "kernels/attention_backward_keys_subgroup.wgsl",
    backwardKeysSubgroupSource,
  ),
};

/** Vectors of queries in a lane's registers: more would save loads, but compile for tens of seconds. */
const REGISTER_VECS = 48;

/** Which kernels compute: those for subgroups of 8 (software Vulkan; head size a multiple of 4), or those for all. */
export type AttentionForm = "subgroup" | "portable";

/** Sizes of an attention. */
export interface AttentionOptions {
  /** H, the number of query heads. */
  readonly numHeads: number;
  /** K, the number of key and value heads; query head h reads key head floor(h K / H). */
  readonly numKeyValueHeads: number;
  /** E, the size of a head. */
  readonly headDim: number;
  /** Factor of the scores. @default {1 / sqrt(E)} */
  readonly scale?: number;
  /** @default {by adapter and head size} */
  readonly form?: AttentionForm;
}

/**
 * out = softmax(scale * q k^T over the visible keys up to the query's own) v, head by head; zeros, with zero gradient,
 * for a query that sees no key.
 * @param q [N, H*E]
 * @param keys [S, K*E], the cache of one layer, or the tokens' own keys where slots are token numbers
 * @param values [S, K*E]
 * @param layout which keys each query sees
 * @returns [N, H*E]
 * @throws {TypeError} when a shape does not fit, {RangeError} when H is not a multiple of K.
 */
export function attention(
  g: Graph,
  q: Tensor,
  keys: Tensor,
  values: Tensor,
  layout: AttentionLayout,
  options: AttentionOptions,
): Tensor {
  checkShapes(q, keys, values, layout, options);
  const call = new Call(g, layout, options);
  const out = g.empty(q.shape);
  const lse = g.empty([q.shape[0], options.numHeads]);
  call.forward({ q, keys, values, out, lse });
  return g.record(out, [q, keys, values], (d_out) => {
    const delta = g.empty(lse.shape);
    const d_q = gradientTarget(g, q);
    const common = { q, keys, values, d_out, lse, delta };
    call.backwardQueries({ ...common, out, d_q: d_q.gradient }, d_q.accumulate);
    if (!g.needsGrad(keys) && !g.needsGrad(values)) return;
    const d_keys = gradientTarget(g, keys);
    const d_values = gradientTarget(g, values);
    const accumulate = d_keys.accumulate || d_values.accumulate || !layout.coversAllSlots;
    call.backwardKeys(
      { ...common, d_keys: d_keys.gradient, d_values: d_values.gradient },
      accumulate,
    );
  });
}

type Tensors = Readonly<Record<string, Tensor>>;

/** The dispatches of one attention. */
class Call {
  readonly form: AttentionForm;
  readonly params: Readonly<Record<string, number>>;

  constructor(
    readonly g: Graph,
    readonly layout: AttentionLayout,
    readonly options: AttentionOptions,
  ) {
    const { numHeads, numKeyValueHeads, headDim, scale = 1 / Math.sqrt(headDim) } = options;
    this.params = { heads: numHeads, key_heads: numKeyValueHeads, scale: scale * Math.LOG2E };
    const fits = headDim % 4 === 0 && headDim <= 128;
    this.form = options.form ?? (g.gpu.isSoftware && fits ? "subgroup" : "portable");
  }

  forward(tensors: Tensors): void {
    if (this.form === "portable") return this.#queriesPortable(portable.forward, tensors);
    const { constants, tile } = this.#rows();
    if (this.layout.longest > 1) {
      return this.#queries(subgroup.forward(constants), tensors, tile, constants.HEADS);
    }
    const { QUERIES: _, ...rest } = constants;
    const PARTS = Math.ceil(rest.VECS / 8);
    const LOADS = Math.ceil(rest.HEADS * rest.VECS / 8);
    this.#queries(subgroup.decode({ ...rest, PARTS, LOADS }), tensors, 1, rest.HEADS);
  }

  backwardQueries(tensors: Tensors, accumulate: boolean): void {
    if (this.form === "portable") return this.#queriesPortable(portable.queries, tensors);
    const { constants, tile } = this.#rows();
    const made = subgroup.queries({ ...constants, ACCUMULATE: accumulate });
    this.#queries(made, tensors, tile, constants.HEADS);
  }

  backwardKeys(tensors: Tensors, accumulate: boolean): void {
    const { headDim, numKeyValueHeads } = this.options;
    const { masked, visible } = this.layout;
    const VECS = headDim / 4;
    const KEYS = VECS <= 8 ? 4 : VECS <= 16 ? 2 : 1; // of rows and gradients in registers
    const size = this.form === "portable" ? this.#tile() : 8 * KEYS;
    const key_tiles = this.layout.keyTiles(size);
    const made = this.form === "portable" ? portable.keys(this.g.gpu, this.#portableConstants()) : {
      kernel: subgroup.keys({ VECS, KEYS, MASKED: masked, ACCUMULATE: accumulate }),
      constants: {},
    };
    const { out: _, ...read } = tensors;
    const grid = [key_tiles.shape[0], numKeyValueHeads, 1] as const;
    const all = { key_tiles, visible, ...read };
    this.g.run(made.kernel, all, this.params, grid, made.constants);
  }

  #queries(
    made: Kernel,
    tensors: Tensors,
    size: number,
    heads: number,
    constants: Constants = {},
  ): void {
    const query_tiles = this.layout.queryTiles(size);
    const grid = [query_tiles.shape[0], this.options.numHeads / heads, 1] as const;
    const all = { query_tiles, visible: this.layout.visible, ...tensors };
    this.g.run(made, all, this.params, grid, constants);
  }

  #queriesPortable(made: GpuUnrolledKernel, tensors: Tensors): void {
    const { kernel, constants } = made(this.g.gpu, this.#portableConstants());
    this.#queries(kernel, tensors, this.#tile(), 1, constants);
  }

  #portableConstants() {
    const { headDim } = this.options;
    const VECS = Math.ceil(headDim / 4);
    return { SIZE: headDim, VECS, TILE: this.#tile(), MASKED: this.layout.masked };
  }

  /** Queries or keys of a workgroup of the portable form: a subgroup's worth. */
  #tile(): number {
    return this.g.gpu.isSoftware ? 8 : 32;
  }

  /** The register tile: as many heads of a group as fit, then two queries a lane where rows are long enough. */
  #rows() {
    const { numHeads, numKeyValueHeads, headDim } = this.options;
    const VECS = headDim / 4;
    const group = numHeads / numKeyValueHeads;
    let HEADS = group;
    while (group % HEADS !== 0 || HEADS > 1 && HEADS * VECS > REGISTER_VECS) HEADS--;
    const QUERIES = this.layout.longest > 8 && 2 * HEADS * VECS <= REGISTER_VECS ? 2 : 1;
    const constants = { VECS, HEADS, QUERIES, MASKED: this.layout.masked };
    return { constants, tile: 8 * QUERIES };
  }
}

function checkShapes(
  q: Tensor,
  keys: Tensor,
  values: Tensor,
  { segment }: AttentionLayout,
  { numHeads, numKeyValueHeads, headDim, form }: AttentionOptions,
): void {
  if (!(numKeyValueHeads > 0 && numHeads % numKeyValueHeads === 0)) {
    throw new RangeError(
      `attention: ${numHeads} query heads cannot share ${numKeyValueHeads} key heads: ` +
        "the first must be a multiple of the second",
    );
  }
  if (form === "subgroup" && headDim % 4 !== 0) {
    throw new RangeError(`attention: the subgroup form needs heads of 4 n, got ${headDim}`);
  }
  const expected: [string, Tensor, number, number][] = [
    ["q", q, segment.numTokens, numHeads * headDim],
    ["keys", keys, segment.numSlots, numKeyValueHeads * headDim],
    ["values", values, segment.numSlots, numKeyValueHeads * headDim],
  ];
  for (const [name, tensor, rows, width] of expected) {
    if (tensor.shape.length !== 2 || tensor.shape[0] !== rows || tensor.shape[1] !== width) {
      throw new TypeError(`attention: ${name} is ${tensor}, expected [${rows}, ${width}]`);
    }
  }
}
