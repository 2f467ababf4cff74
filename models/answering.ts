/** What is asked, and how the text of an answer is chosen: the configuration's keys as the options of llm/generate.ts. */
import { promptIds, type Tokenizer } from "../data/prompt.ts";
import type { GenerateOptions } from "../llm/generate.ts";
import { STREAMS } from "./draws.ts";
import type { AnswerOptions, Question } from "./method.ts";

/** `answer_generation_config` of the configuration. */
export interface AnswerGeneration {
  readonly max_new_tokens: number;
  readonly do_sample: boolean;
  readonly temperature: number;
  readonly top_p: number;
  readonly top_k: number;
  readonly pad_in_answer: boolean;
}

/** Prompts of questions, token ids each: a question's own thinking speed, or the one for all. */
export function promptsOf(
  tokenizer: Tokenizer,
  questions: readonly Question[],
  options: Pick<AnswerOptions, "speed">,
): number[][] {
  return questions.map(({ question, speed = options.speed }) =>
    promptIds(tokenizer, question, speed)
  );
}

/** Whether the most probable is taken rather than drawn. */
export function isGreedy(config: AnswerGeneration, { greedy }: { greedy: boolean }): boolean {
  return greedy || !config.do_sample;
}

/**
 * Options for the answers of some questions, whose draws are keyed by seed, question and position.
 * @param questions in the order of the rows
 */
export function answerOptions(
  config: AnswerGeneration,
  tokenizer: Pick<Tokenizer, "eosId" | "padId">,
  questions: readonly Question[],
  options: AnswerOptions,
): GenerateOptions {
  return {
    maxNewTokens: config.max_new_tokens,
    eosIds: [tokenizer.eosId],
    doSample: !isGreedy(config, options),
    temperature: config.temperature,
    topK: config.top_k,
    topP: config.top_p,
    suppressed: config.pad_in_answer ? [] : [tokenizer.padId],
    random: {
      seed: options.seed,
      stream: STREAMS.answer,
      sampleIds: questions.map(({ id }) => id),
    },
  };
}
