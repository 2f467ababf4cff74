/**
 * The two passes of self-distillation, by one model with one set of weights: the teacher reads question, steps and
 * answer, the student question, latents and answer; both keep their hidden states at the token before the answer's
 * first, the `:` of `Answer:`.
 *
 *   teacher  [question ###] [steps ###] [Answer:a eos]
 *   student  [question ###] z_1 .. z_n [###] [Answer:a eos],  z_1 = project(h(###)),  z_{i+1} = project(h(z_i))
 *
 * The question is computed once, and the teacher's cache begins with a copy of it. In the published code both passes
 * extend one cache (A11), which is right only as long as extending makes a new one.
 *
 * Source: Shen et al., CODI, arXiv 2502.21074; the published CoLaR code (models/distill.py).
 */
import type { Graph } from "../autograd/tape.ts";
import { answerIds, promptIds, remainingStepsIds, type Tokenizer } from "../data/prompt.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone, ForwardResult } from "../llm/backbone.ts";
import { copyPrefixes } from "../llm/cache_copy.ts";
import { KvCache } from "../llm/kv_cache.ts";
import { embedding } from "../ops/embedding.ts";
import { languageLoss } from "./language_loss.ts";
import { chainLatents, continueChain, type Projection } from "./latent_chain.ts";
import {
  type Following,
  joinRows,
  type LaidRow,
  layFollowing,
  type LayoutOptions,
  layQuestions,
  longestOf,
  packedIds,
  packedLabels,
  rowFrom,
} from "./segments.ts";

/** A batch as token ids, one entry for each row. */
export interface LessonBatch {
  /** Question, speed and `###`. */
  readonly questions: readonly (readonly number[])[];
  /** What the teacher reads behind it. */
  readonly explained: readonly Following[];
  /** What the student reads behind its latents. */
  readonly answered: readonly Following[];
}

/** One pass: its language loss, and the states that are compared. */
export interface Lesson {
  readonly result: ForwardResult;
  /** Mean cross-entropy over its supervised tokens, [1]. */
  readonly loss: Tensor;
  /** Packed tokens before the answers' first: the `:` of each row, [B]. */
  readonly colons: Uint32Array;
  /** Tokens and latents computed. */
  readonly numTokens: number;
  readonly cache: KvCache;
  /** As fed, [B, D] each; none for the teacher. */
  readonly latents: readonly Tensor[];
}

/**
 * Tokenises rows for both passes; the prompt's speed is `auto`.
 * @param includeLastStep whether the teacher reads the last step, from which the answer can be copied
 * @throws {RangeError} without rows.
 */
export function lessonBatch(
  tokenizer: Tokenizer,
  rows: readonly QsaRow[],
  includeLastStep: boolean,
): LessonBatch {
  if (rows.length === 0) throw new RangeError("self-distillation: a batch needs at least one row");
  const answers = rows.map(({ answer }) => answerIds(tokenizer, answer));
  return {
    questions: rows.map(({ question }) => promptIds(tokenizer, question, "auto")),
    explained: rows.map(({ steps }, b) => ({
      steps: remainingStepsIds(tokenizer, includeLastStep ? steps : steps.slice(0, -1)),
      answer: answers[b],
    })),
    answered: answers.map((answer) => ({ steps: [tokenizer.separatorId], answer })),
  };
}

/** What the student makes of a batch. */
export function study(
  g: Graph,
  backbone: Backbone,
  { questions, answered }: LessonBatch,
  options: LayoutOptions & {
    readonly padId: number;
    readonly numLatents: number;
    readonly project?: Projection;
  },
): Lesson {
  const { numLatents, project, position_ids: positions } = options;
  const column = longestOf(questions) + numLatents;
  const following = layFollowing(answered, { ...options, column });
  const room = following.map(({ length }) => length);
  const chain = chainLatents(g, backbone, questions, { numLatents, project, positions, room });
  const result = continueChain(g, backbone, chain, following, { hiddenStates: true });
  const { tokens, loss } = result;
  const colons = colonsOf(answered, following, tokens.offsets);
  const numTokens = chain.numTokens + tokens.numTokens;
  return { result, loss, colons, numTokens, cache: chain.cache, latents: chain.latents };
}

/**
 * What the teacher makes of a batch.
 * @param asked a cache whose rows begin with the questions, as the student's
 */
export function teach(
  g: Graph,
  backbone: Backbone,
  { questions, explained }: LessonBatch,
  asked: KvCache,
  layout: LayoutOptions & { readonly padId: number },
): Lesson {
  const column = longestOf(questions);
  const following = layFollowing(explained, { ...layout, column });
  const whole = joinRows(layQuestions(questions, layout.position_ids), following);
  const cache = new KvCache(g.scope, backbone, whole.map(({ length }) => length));
  // A question's last token is computed again: it predicts the first that follows.
  const known = questions.map(({ length }, row) => ({ row, length: length - 1 }));
  copyPrefixes(g, asked, cache, known);
  const rows = whole.map((row, b) => rowFrom(row, known[b].length));
  const tokens = cache.extend(g.scope, rows.map((laid, row) => ({ row, ...laid })));
  const x = embedding(g, backbone.embeddings, packedIds(rows)); // [N, D]
  const result = backbone.forward(g, x, tokens, { cache, hiddenStates: true });
  const loss = languageLoss(g, backbone, result.hidden, packedLabels(rows));
  const colons = colonsOf(explained, following, tokens.offsets).map((colon) => colon + 1);
  return { result, loss, colons, numTokens: tokens.numTokens, cache, latents: [] };
}

/** The second token of each row's answer, where row b's first token is `begins[b]`. */
function colonsOf(
  rows: readonly Following[],
  laid: readonly LaidRow[],
  begins: Uint32Array,
): Uint32Array {
  return Uint32Array.from(
    rows,
    ({ steps }, b) => begins[b] + laid[b].visible.indexOf(1) + steps.length + 1,
  );
}
