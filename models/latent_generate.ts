/**
 * Answers by latents: the prompt, latents until the next token is `###` or a fixed number of them, then `###` and the
 * answer's text, all on one key/value cache. What the latents are is the caller's: chain_generate.ts chains them; those
 * of `latentGenerate` are drawn, CoLaR's.
 *
 * Source: the published CoLaR code (models/model_base.py: latent_generate), which computes the prefix anew for the text
 * (B3): the same numbers, slower.
 */
import { Graph } from "../autograd/tape.ts";
import type { Tokenizer } from "../data/prompt.ts";
import type { Backbone } from "../llm/backbone.ts";
import { generate, type GenerateOptions } from "../llm/generate.ts";
import { embedding } from "../ops/embedding.ts";
import { type AnswerGeneration, answerOptions, isGreedy, promptsOf } from "./answering.ts";
import { drawnLatents, type LatentHead } from "./latent_head.ts";
import { type GaussianPart, thoughtTrace } from "./latent_trace.ts";
import type { Answer, AnswerOptions, Question, TracedAnswer, TraceOptions } from "./method.ts";
import { sharedPrefill } from "./shared_prefill.ts";
import { keyedDraws, type Propose, think, type ThinkingDraws, type Thought } from "./thinking.ts";

/** How many latents: keys of `latent_generation_config`. */
export interface LatentCount {
  /** Latents where the model decides, at most. */
  readonly max_n_latent_forward: number;
  /** Exactly so many; null: the model decides. */
  readonly n_latent_forward: number | null;
  /** Divides the logits of its decisions. */
  readonly eol_temperature: number;
}

/** What answers by latents, whatever these are. */
export interface LatentWriter<K extends string> {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  readonly count: LatentCount;
  readonly generation: AnswerGeneration;
  /** What makes the latents, of random numbers where they are drawn. */
  readonly latents: (draws: ThinkingDraws | undefined) => Propose<K>;
}

/** What thinks in drawn latents: a model with its latent head. */
export interface Thinker {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  readonly head: LatentHead;
  /** Scale of the token embeddings. */
  readonly embedsStd: number;
  readonly options: {
    readonly latent_generation_config: LatentCount & { readonly latent_temperature: number };
    readonly answer_generation_config: AnswerGeneration;
  };
}

/** Recorded random numbers. */
export interface AnswerDraws {
  readonly thinking: ThinkingDraws;
  readonly text: Pick<GenerateOptions, "random" | "uniforms">;
}

/** How to answer. */
export interface LatentAnswerOptions extends AnswerOptions {
  /** Draws instead of those that (seed, question, position) key. */
  readonly recorded?: AnswerDraws;
  /** Return every latent, and the log-probability of every token. */
  readonly trace?: boolean;
  /** With `trace`: blocks whose outputs at the latents are kept, from 1. @default {none} */
  readonly layers?: readonly number[];
}

/** An answer with the thinking before it. */
export interface LatentAnswer<K extends string = GaussianPart> extends Answer {
  readonly thought: Thought<K>;
  /** With `trace`: of each id, under the whole distribution at temperature 1. */
  readonly logProbs: readonly number[];
}

/**
 * Answers questions.
 * @returns one answer per question, in their order
 */
export async function writeBehindLatents<K extends string>(
  writer: LatentWriter<K>,
  questions: readonly Question[],
  options: LatentAnswerOptions,
): Promise<LatentAnswer<K>[]> {
  if (questions.length === 0) return [];
  const { backbone, tokenizer, count, generation } = writer;
  using scope = backbone.weights.gpu.scope();
  const g = new Graph(backbone.weights.gpu, scope, { training: false });
  const maxLatents = count.n_latent_forward ?? count.max_n_latent_forward;
  const room = maxLatents + 1 + generation.max_new_tokens;
  const prompts = promptsOf(tokenizer, questions, options);
  const prefilled = sharedPrefill(g, backbone, prompts, room);
  const questionIds = questions.map(({ id }) => id);
  const keyed = options.recorded?.thinking ??
    keyedDraws(backbone.hiddenSize, options.seed, questionIds);
  const draws = isGreedy(generation, options) ? undefined : keyed;
  const thoughts = await think(backbone, writer.latents(draws), prefilled, {
    maxLatents,
    isFixed: count.n_latent_forward !== null,
    separatorId: tokenizer.separatorId,
    eolTemperature: count.eol_temperature,
    draws,
    trace: options.trace,
    layers: options.layers,
  });
  const { cache, rows } = prefilled;
  const tokens = cache.extend(scope, rows.map((row) => ({ row, length: 1 })));
  const separators = new Uint32Array(rows.length).fill(tokenizer.separatorId);
  const x = embedding(g, backbone.embeddings, separators);
  const last = backbone.forward(g, x, tokens, { cache }).hidden; // [B, D]
  const texts = await generate(backbone, cache, rows, last, {
    ...answerOptions(generation, tokenizer, questions, options),
    ...options.recorded?.text,
    fullLogProbs: options.trace,
  });
  return texts.map(({ ids, fullLogProbs = [] }, i) => ({
    output: tokenizer.decode(ids),
    ids,
    reasoningLength: thoughts[i].numLatents,
    thought: thoughts[i],
    logProbs: fullLogProbs,
  }));
}

/**
 * Answers questions by drawn latents.
 * @returns one answer per question, in their order
 */
export function latentGenerate(
  { backbone, tokenizer, head, embedsStd, options }: Thinker,
  questions: readonly Question[],
  how: LatentAnswerOptions,
): Promise<LatentAnswer[]> {
  const { latent_generation_config: count, answer_generation_config: generation } = options;
  const latents = (draws: ThinkingDraws | undefined) =>
    drawnLatents(head, { embedsStd, latentTemperature: count.latent_temperature, draws });
  const writer = { backbone, tokenizer, count, generation, latents };
  return writeBehindLatents(writer, questions, how);
}

/** Answers questions; what `Method.answer` of a method that thinks with its latent head gives. */
export async function latentAnswers(
  thinker: Thinker,
  questions: readonly Question[],
  options: AnswerOptions,
): Promise<Answer[]> {
  const answers = await latentGenerate(thinker, questions, options);
  return answers.map(({ output, ids, reasoningLength }) => ({ output, ids, reasoningLength }));
}

/** Answers questions and keeps the latents; what `Method.trace` of such a method gives. */
export async function latentTraces(
  thinker: Thinker,
  questions: readonly Question[],
  { layers, ...options }: TraceOptions,
): Promise<TracedAnswer[]> {
  const answers = await latentGenerate(thinker, questions, { ...options, trace: true, layers });
  return answers.map(({ output, ids, reasoningLength, thought: { latents } }) => ({
    ...{ output, ids, reasoningLength, trace: thoughtTrace(latents, layers) },
  }));
}
