/**
 * Answers by chained latents: the prompt, the latents, `###`, and the answer's text.
 *
 * As in training every latent attends to the prompt and to the latents before it, and the text goes on with their cache;
 * there are as many as in training, another number, or as many as the model decides. In the published code each sees only
 * itself (A1): chain_alone.ts.
 *
 * Source: Hao et al., Training Large Language Models to Reason in a Continuous Latent Space, arXiv 2412.06769; the
 * published CoLaR code (models/model_base.py: fixed_length_latent_generate; the decision: latent_generate).
 */
import type { Graph } from "../autograd/tape.ts";
import type { Tokenizer } from "../data/prompt.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone } from "../llm/backbone.ts";
import type { AnswerGeneration } from "./answering.ts";
import { generateAlone } from "./chain_alone.ts";
import type { SpeedSetting } from "./compression.ts";
import type { Projection } from "./latent_chain.ts";
import { writeBehindLatents } from "./latent_generate.ts";
import { type ChainedLatents, chainTrace } from "./latent_trace.ts";
import type { Answer, AnswerOptions, Question, TracedAnswer, TraceOptions } from "./method.ts";

/** How chained latents are thought: keys of `latent_generation_config`. */
export interface ChainGeneration {
  /** As many as in training, a number of them, or null: until the model predicts `###`. */
  readonly n_latent_forward: "trained" | number | null;
  /** Latents where the model decides, at most. */
  readonly max_n_latent_forward: number;
  /** Thinking speeds that prompts name. */
  readonly compression_factor: SpeedSetting;
  /** Divides the logits of the decisions. */
  readonly eol_temperature: number;
}

/** What thinks: a model, and how it chains latents. */
export interface ChainThinker {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  /** Latents in training. */
  readonly numLatents: number;
  readonly thinking: ChainGeneration;
  /** What hidden states go through before they are fed. @default {nothing} */
  readonly project?: Projection;
  /** Whether latents see the prefix (A1). */
  readonly cacheInLatentLoop: boolean;
  readonly generation: AnswerGeneration;
}

/** An answer with the latents before it. */
export interface ChainAnswer extends Answer, ChainedLatents {}

/**
 * Answers questions.
 * @param trace return every latent: costs reads
 * @param layers with `trace`: blocks whose outputs at the latents are returned, from 1
 * @returns one answer per question, in their order
 * @throws {RangeError} where the model should decide when to stop, but latents see only themselves.
 */
export async function chainGenerate(
  thinker: ChainThinker,
  questions: readonly Question[],
  options: AnswerOptions,
  trace = false,
  layers: readonly number[] = [],
): Promise<ChainAnswer[]> {
  if (questions.length === 0) return [];
  const { thinking } = thinker;
  const numLatents = thinking.n_latent_forward === "trained"
    ? thinker.numLatents
    : thinking.n_latent_forward;
  if (thinker.cacheInLatentLoop) {
    return await generateWithCache(thinker, numLatents, questions, { ...options, trace, layers });
  }
  if (numLatents !== null) {
    return await generateAlone({ ...thinker, numLatents }, questions, options, trace, layers);
  }
  throw new RangeError(
    "n_latent_forward must be trained or a number with cache_in_latent_loop=False, got null",
  );
}

async function generateWithCache(
  { backbone, tokenizer, thinking, project, generation }: ChainThinker,
  numLatents: number | null,
  questions: readonly Question[],
  options: TraceOptions & { readonly trace: boolean },
): Promise<ChainAnswer[]> {
  const count = { ...thinking, n_latent_forward: numLatents };
  const next = (g: Graph, hidden: Tensor) => ({
    embeds: project ? project(g, hidden) : hidden, // [B, D]
    kept: {},
  });
  const writer = { backbone, tokenizer, count, generation, latents: () => next };
  const answers = await writeBehindLatents(writer, questions, options);
  return answers.map(({ output, ids, reasoningLength, thought: { latents } }) => ({
    ...{ output, ids, reasoningLength },
    latents: latents.map(({ embeds }) => embeds),
    states: latents.map(({ states }) => states),
    stopLogProbs: numLatents === null
      ? latents.map(({ separatorLogProb }) => separatorLogProb)
      : undefined,
  }));
}

/** Answers questions; what `Method.answer` of a method with chained latents gives. */
export async function chainAnswers(
  thinker: ChainThinker,
  questions: readonly Question[],
  options: AnswerOptions,
): Promise<Answer[]> {
  const answers = await chainGenerate(thinker, questions, options);
  return answers.map(({ output, ids, reasoningLength }) => ({ output, ids, reasoningLength }));
}

/** Answers questions and keeps the latents; what `Method.trace` of a method with chained latents gives. */
export async function chainTraces(
  thinker: ChainThinker,
  questions: readonly Question[],
  { layers, ...options }: TraceOptions,
): Promise<TracedAnswer[]> {
  const answers = await chainGenerate(thinker, questions, options, true, layers);
  return answers.map(({ output, ids, reasoningLength, ...chained }) => ({
    ...{ output, ids, reasoningLength, trace: chainTrace(chained, layers) },
  }));
}
