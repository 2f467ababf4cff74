/**
 * Latents chained through one growing key/value cache: a latent is the hidden state of the position before it, fed back
 * as input embedding, so that it attends to the whole prefix, and gradients flow through all of it.
 *
 *   z_1 = h(question's last token),  z_{i+1} = h(z_i),  each optionally through a projection
 *
 * Nothing in the cache is ever overwritten, so the chain needs no copies of it. chain_generate.ts answers with the same
 * chain.
 *
 * Source: Hao et al., Training Large Language Models to Reason in a Continuous Latent Space, arXiv 2412.06769; the
 * published CoLaR code (models/coconut.py, models/distill.py).
 */
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone, ForwardOptions, ForwardResult } from "../llm/backbone.ts";
import type { KvCache } from "../llm/kv_cache.ts";
import type { Tokens } from "../llm/tokens.ts";
import { concat } from "../ops/concat.ts";
import { crossEntropy } from "../ops/cross_entropy.ts";
import { embedding } from "../ops/embedding.ts";
import { gather } from "../ops/gather.ts";
import { IGNORED } from "./language_loss.ts";
import { prefill } from "./prefill.ts";
import {
  type LaidRow,
  layQuestions,
  longestOf,
  packedIds,
  packedLabels,
  type PositionIds,
} from "./segments.ts";

/** Makes a latent of a hidden state, [B, D] -> [B, D]. */
export type Projection = (g: Graph, hidden: Tensor) => Tensor;

/** How latents are chained. */
export interface ChainOptions {
  /** Latents behind each question; 0 only computes the questions. */
  readonly numLatents: number;
  /** Tokens that will follow the latents: a number for each row, or one for all. */
  readonly room: number | readonly number[];
  /** What hidden states go through before they are fed. @default {nothing} */
  readonly project?: Projection;
  /** What positions count. @default {"mask"} */
  readonly positions?: PositionIds;
  /** Keep what enters each layer where latents stand. @default {false} */
  readonly hiddenStates?: boolean;
}

/** Latents that a pass chained, and the cache to go on with. */
export interface Chain {
  readonly cache: KvCache;
  /** Rows of the cache, 0 to B - 1. */
  readonly rows: readonly number[];
  /** As fed in, [B, D] each. */
  readonly latents: readonly Tensor[];
  /** The pass that each latent went through. */
  readonly passes: readonly ForwardResult[];
  /** Hidden state after the last latent, or of the question's last token if there is none, [B, D]. */
  readonly last: Tensor;
  /** Columns of the padded batch that questions and latents take: where `as-released` positions go on. */
  readonly column: number;
  /** Tokens and latents computed. */
  readonly numTokens: number;
}

/** What followed a chain. */
export interface Continued extends ForwardResult {
  /** Where each row's tokens are among the packed ones. */
  readonly tokens: Tokens;
  /** Mean cross-entropy over the supervised tokens, [1]; a row's first is predicted from the chain's last state. */
  readonly loss: Tensor;
}

/**
 * Computes questions, then chains latents behind them.
 * @param questions token ids of each row, at least one
 */
export function chainLatents(
  g: Graph,
  backbone: Backbone,
  questions: readonly (readonly number[])[],
  { numLatents, room, project, positions = "mask", hiddenStates }: ChainOptions,
): Chain {
  const following = questions.map((_, b) => typeof room === "number" ? room : room[b]);
  const { cache, rows, last } = prefill(
    g,
    backbone,
    questions,
    following.map((count) => numLatents + count),
    layQuestions(questions, positions).map((row) => row.positions),
  );
  const longest = longestOf(questions);
  const latents: Tensor[] = [];
  const passes: ForwardResult[] = [];
  let state = last;
  for (let i = 0; i < numLatents; i++) {
    const latent = project ? project(g, state) : state; // [B, D]
    const at = positions === "mask" ? undefined : [longest + i];
    const tokens = cache.extend(g.scope, rows.map((row) => ({ row, length: 1, positions: at })));
    const pass = backbone.forward(g, latent, tokens, { cache, hiddenStates });
    state = pass.hidden;
    latents.push(latent);
    passes.push(pass);
  }
  const numTokens = questions.flat().length + numLatents * rows.length;
  return { cache, rows, latents, passes, last: state, column: longest + numLatents, numTokens };
}

/**
 * Goes on from a chain with tokens, and computes their language loss.
 * @param rows one for each row of the chain
 * @param options what else the pass keeps
 */
export function continueChain(
  g: Graph,
  backbone: Backbone,
  { cache, last }: Chain,
  rows: readonly LaidRow[],
  options: Pick<ForwardOptions, "hiddenStates"> = {},
): Continued {
  const tokens = cache.extend(g.scope, rows.map((laid, row) => ({ row, ...laid })));
  const x = embedding(g, backbone.embeddings, packedIds(rows));
  const result = backbone.forward(g, x, tokens, { ...options, cache });
  const states = concat(g, [last, result.hidden]); // [B + N, D]
  const before = rows.flatMap(({ length }, b) =>
    Array.from({ length }, (_, i) => i === 0 ? b : rows.length + tokens.offsets[b] + i - 1)
  );
  const labels = packedLabels(rows);
  const supervised = before.map((_, i) => i).filter((i) => labels[i] !== IGNORED);
  const predicting = gather(g, states, Uint32Array.from(supervised, (i) => before[i]));
  const ids = Uint32Array.from(supervised, (i) => labels[i]);
  return { ...result, tokens, loss: crossEntropy(g, predicting, backbone.head, ids) };
}
