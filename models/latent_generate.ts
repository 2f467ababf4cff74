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
import type { Answer, AnswerOptions, Question } from "./method.ts";
import { prefill } from "./prefill.ts";
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
  /** Return every latent. */
  readonly trace?: boolean;
}

/** An answer with the thinking before it. */
export interface LatentAnswer extends Answer {
  readonly thought: Thought;
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
  const prompts = questions.map(({ question }) => promptIds(tokenizer, question, options.speed));
  const room = latent.max_n_latent_forward + 1 + text.max_new_tokens;
  const prefilled = prefill(g, backbone, prompts, room);
  const questionIds = questions.map(({ id }) => id);
  const draws = options.recorded?.thinking ??
    keyedDraws(backbone.hiddenSize, options.seed, questionIds);
  const thoughts = await think(backbone, head, prefilled, {
    maxLatents: latent.max_n_latent_forward,
    separatorId: tokenizer.separatorId,
    embedsStd,
    latentTemperature: latent.latent_temperature,
    eolTemperature: latent.eol_temperature,
    draws: isGreedy(text, options) ? undefined : draws,
    trace: options.trace,
  });
  const { cache, rows } = prefilled;
  const tokens = cache.extend(scope, rows.map((row) => ({ row, length: 1 })));
  const separators = new Uint32Array(rows.length).fill(tokenizer.separatorId);
  const x = embedding(g, backbone.embeddings, separators);
  const last = backbone.forward(g, x, tokens, { cache }).hidden; // [B, D]
  const texts = await generate(backbone, cache, rows, last, {
    ...answerOptions(text, tokenizer, questions, options),
    ...options.recorded?.text,
  });
  return texts.map(({ ids }, i) => ({
    output: tokenizer.decode(ids),
    ids,
    reasoningLength: thoughts[i].numLatents,
    thought: thoughts[i],
  }));
}
