/**
 * Answers in text: a prompt, then tokens to the end, of which some may be reasoning.
 *
 * Source: the published CoLaR code (models/model_base.py: text_generate).
 */
import { Graph } from "../autograd/tape.ts";
import { reasoningLength, type ReasoningTokens, reasoningTokens } from "../data/answer.ts";
import type { Tokenizer } from "../data/prompt.ts";
import type { Backbone } from "../llm/backbone.ts";
import { generate } from "../llm/generate.ts";
import { type AnswerGeneration, answerOptions } from "./answering.ts";
import type { Answer, AnswerOptions, MethodContext, Question } from "./method.ts";
import { prefill } from "./prefill.ts";

/** What writes: a model, and how its tokens are chosen and counted. */
export interface TextWriter {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  readonly generation: AnswerGeneration;
  /** How #L is counted, and by which tokens. */
  readonly reasoningLength: MethodContext<unknown>["reasoningLength"];
  readonly reasoningTokens: ReasoningTokens;
}

/** What writes for a method built from this. */
export function textWriter(
  { backbone, tokenizer, reasoningLength, options }: MethodContext<
    { readonly answer_generation_config: AnswerGeneration }
  >,
): TextWriter {
  return {
    backbone,
    tokenizer,
    generation: options.answer_generation_config,
    reasoningLength,
    reasoningTokens: reasoningTokens(tokenizer),
  };
}

/**
 * Answers questions.
 * @param prompts token ids that each question's answer goes on from
 * @returns one answer per question, in their order
 */
export async function textGenerate(
  writer: TextWriter,
  questions: readonly Question[],
  prompts: readonly (readonly number[])[],
  options: AnswerOptions,
): Promise<Answer[]> {
  if (questions.length === 0) return [];
  const { backbone, tokenizer, generation } = writer;
  using scope = backbone.weights.gpu.scope();
  const g = new Graph(backbone.weights.gpu, scope, { training: false });
  const { cache, rows, last } = prefill(g, backbone, prompts, generation.max_new_tokens);
  const choice = answerOptions(generation, tokenizer, questions, options);
  const texts = await generate(backbone, cache, rows, last, choice);
  const width = Math.max(...texts.map(({ ids }) => ids.length));
  const profile = writer.reasoningLength === "exact" ? "corrected" : "released";
  return texts.map(({ ids }) => ({
    output: tokenizer.decode(ids),
    ids,
    reasoningLength: reasoningLength(ids, writer.reasoningTokens, profile, width),
  }));
}
