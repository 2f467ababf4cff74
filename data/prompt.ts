/**
 * The texts that the methods put around a row, and their token ids, one function per segment.
 *
 * | segment  | text                                                             |
 * | -------- | ---------------------------------------------------------------- |
 * | question | `Question: {q} Let's think step by step:(Thinking speed: {c})`   |
 * | steps    | `###{steps}` (CoLaR), `###{steps}###` (CoT); steps one per line  |
 * | rest     | `{steps}###`: the steps left (iCoT, Coconut), or all (Distill)   |
 * | answer   | `Answer:{a}{eos}` (CoT), `###Answer:{a}{eos}` (CoLaR)            |
 * | prompt   | the question and `###`, from which thinking starts               |
 *
 * A segment is tokenised as one string, without special tokens in front: the speed merges with the question (`:(` is
 * one token of most vocabularies). Segments are tokenised apart and concatenated; with `separator_tokens=alone` so is each `###`.
 *
 * Source: the published CoLaR code (models/model_base.py, models/cot.py, models/colar.py), arXiv 2505.16552.
 *
 * **Deviations.** As published `###` is tokenised with the text beside it. A row without an equation makes the CoT segment
 * `######`, one other token in Llama's and Qwen's vocabularies, and steps that begin with a line break or a bracket make
 * `###\n` or `###[`: the separator is lost. `corrected` tokenises it alone (`separator_tokens`).
 */
import { SEPARATOR, type Tokenizer } from "../io/tokenizer.ts";

export type { Tokenizer } from "../io/tokenizer.ts";

/** How fast to think: a compression factor, `auto`, or "" for no word about it. */
export type Speed = number | "auto" | "";

/** The part of a tokenizer that texts need. */
export type Encoder =
  & Pick<Tokenizer, "encode" | "eosToken">
  & Partial<Pick<Tokenizer, "separatorTokens">>;

/** @returns `(Thinking speed: c)`, or "" without a speed */
export function speedText(speed: Speed): string {
  return speed === "" ? "" : `(Thinking speed: ${speed})`;
}

/** @returns the question segment as text */
export function questionText(question: string, speed: Speed): string {
  return `Question: ${question} Let's think step by step:${speedText(speed)}`;
}

/** @returns token ids of the question segment */
export function questionIds(tokenizer: Encoder, question: string, speed: Speed): number[] {
  return tokenizer.encode(questionText(question, speed));
}

/** @returns token ids of question and separator: what generation starts from */
export function promptIds(tokenizer: Encoder, question: string, speed: Speed): number[] {
  return joined(tokenizer, [questionText(question, speed), SEPARATOR]);
}

/** @returns token ids of `###` alone: one */
export function separatorIds(tokenizer: Encoder): number[] {
  return tokenizer.encode(SEPARATOR);
}

/** @returns token ids of `###{steps}`, the steps segment of CoLaR */
export function colarStepsIds(tokenizer: Encoder, steps: readonly string[]): number[] {
  return joined(tokenizer, [SEPARATOR, steps.join("\n")]);
}

/** @returns token ids of `###{steps}###`, the steps segment of CoT */
export function cotStepsIds(tokenizer: Encoder, steps: readonly string[]): number[] {
  return joined(tokenizer, [SEPARATOR, steps.join("\n"), SEPARATOR]);
}

/**
 * @param finalNewline whether a line end stands before `###`
 * @returns token ids of `{steps}###`: steps that are left as text behind latents, or behind the question
 */
export function remainingStepsIds(
  tokenizer: Encoder,
  steps: readonly string[],
  finalNewline = false,
): number[] {
  return joined(tokenizer, [steps.join("\n") + (finalNewline ? "\n" : ""), SEPARATOR]);
}

/** @returns token ids of `Answer:{a}{eos}` */
export function answerIds(tokenizer: Encoder, answer: string): number[] {
  return tokenizer.encode(`Answer:${answer}${tokenizer.eosToken}`);
}

/** @returns token ids of `###Answer:{a}{eos}`, the answer segment of CoLaR */
export function colarAnswerIds(tokenizer: Encoder, answer: string): number[] {
  return joined(tokenizer, [SEPARATOR, `Answer:${answer}${tokenizer.eosToken}`]);
}

/** The parts of a segment, each a separator or text without one. */
function joined(tokenizer: Encoder, parts: readonly string[]): number[] {
  return tokenizer.separatorTokens === "as-released"
    ? tokenizer.encode(parts.join(""))
    : parts.flatMap((part) => tokenizer.encode(part));
}
