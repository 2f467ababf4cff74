/**
 * Answers by latents: the prompt, latents until the next token is `###`, then `###` and the answer's text, all on one
 * key/value cache.
 *
 * Source: the published CoLaR code (models/model_base.py: latent_generate), which computes the prefix anew for the text
 * (B3): the same numbers, slower.
 */
import { Graph } from "../autograd/tape.ts";
import { promptIds, type Tokenizer } from "../data/prompt.ts";
import type { Backbone } from "../llm/backbone.ts";
import { generate, type GenerateOptions } from "../llm/generate.ts";
import { embedding } from "../ops/embedding.ts";
import { type AnswerGeneration, answerOptions, isGreedy } from "./answering.ts";
import type { LatentHead } from "./latent_head.ts";
import { thoughtTrace } from "./latent_trace.ts";
import type {
  Answer,
  AnswerOptions,
  Question,
  ThinkingSpeed,
  TracedAnswer,
  TraceOptions,
} from "./method.ts";
import { sharedPrefill } from "./shared_prefill.ts";
import { keyedDraws, think, type ThinkingDraws, type Thought } from "./thinking.ts";

/** What thinks: a model with its latent head. */
export interface Thinker {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  readonly head: LatentHead;
  /** Scale of the token embeddings. */
  readonly embedsStd: number;
  readonly options: {
    readonly latent_generation_config: {
      readonly max_n_latent_forward: number;
      readonly n_latent_forward: number | null;
      readonly latent_temperature: number;
      readonly eol_temperature: number;
    };
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
  /** Thinking speed of each question, instead of `speed` for all. */
  readonly speeds?: readonly ThinkingSpeed[];
  /** Return every latent, and the log-probability of every token. */
  readonly trace?: boolean;
  /** With `trace`: blocks whose outputs at the latents are kept, from 1. @default {none} */
  readonly layers?: readonly number[];
}

/** An answer with the thinking before it. */
export interface LatentAnswer extends Answer {
  readonly thought: Thought;
  /** With `trace`: of each id, under the whole distribution at temperature 1. */
  readonly logProbs: readonly number[];
}

/**
 * Answers questions.
 * @returns one answer per question, in their order
 */
export async function latentGenerate(
  thinker: Thinker,
  questions: readonly Question[],
  options: LatentAnswerOptions,
): Promise<LatentAnswer[]> {
  if (questions.length === 0) return [];
  const { backbone, tokenizer, head, embedsStd } = thinker;
  const { latent_generation_config: latent, answer_generation_config: text } = thinker.options;
  using scope = backbone.weights.gpu.scope();
  const g = new Graph(backbone.weights.gpu, scope, { training: false });
  const prompts = questions.map(({ question }, i) =>
    promptIds(tokenizer, question, options.speeds?.[i] ?? options.speed)
  );
  const maxLatents = latent.n_latent_forward ?? latent.max_n_latent_forward;
  const room = maxLatents + 1 + text.max_new_tokens;
  const prefilled = sharedPrefill(g, backbone, prompts, room);
  const questionIds = questions.map(({ id }) => id);
  const draws = options.recorded?.thinking ??
    keyedDraws(backbone.hiddenSize, options.seed, questionIds);
  const thoughts = await think(backbone, head, prefilled, {
    maxLatents,
    isFixed: latent.n_latent_forward !== null,
    separatorId: tokenizer.separatorId,
    embedsStd,
    latentTemperature: latent.latent_temperature,
    eolTemperature: latent.eol_temperature,
    draws: isGreedy(text, options) ? undefined : draws,
    trace: options.trace,
    layers: options.layers,
  });
  const { cache, rows } = prefilled;
  const tokens = cache.extend(scope, rows.map((row) => ({ row, length: 1 })));
  const separators = new Uint32Array(rows.length).fill(tokenizer.separatorId);
  const x = embedding(g, backbone.embeddings, separators);
  const last = backbone.forward(g, x, tokens, { cache }).hidden; // [B, D]
  const texts = await generate(backbone, cache, rows, last, {
    ...answerOptions(text, tokenizer, questions, options),
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
