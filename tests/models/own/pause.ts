/**
 * Pause: the model may think for n tokens that say nothing, then answers; no steps are read.
 *
 *   row     [question (Thinking speed: auto) ###] [### n times] [Answer:a eos]
 *   loss    answer_weight * mean of -log p(token | tokens before it) over the answer
 *   answer  question (Thinking speed: auto) ### -> ### n times -> text to eos; #L is n
 *
 * Source: Goyal et al., Think before you speak: Training Language Models With Pause Tokens, arXiv 2310.02226.
 *
 * **Deviations.** A pause is the `###` that is there, not a new token.
 */
import type { Graph } from "../../../autograd/tape.ts";
import { reasoningTokens } from "../../../data/answer.ts";
import { answerIds, promptIds } from "../../../data/prompt.ts";
import type { QsaRow } from "../../../data/qsa.ts";
import { integer, number } from "../../../io/config_kinds.ts";
import { packRows } from "../../../llm/tokens.ts";
import type { AnswerGeneration } from "../../../models/answering.ts";
import { IGNORED, languageLoss } from "../../../models/language_loss.ts";
import type {
  Answer,
  AnswerOptions,
  CreateMethod,
  Losses,
  Method,
  MethodContext,
  Question,
} from "../../../models/method.ts";
import { textGenerate } from "../../../models/text_generate.ts";
import {
  checkVocabulary,
  trainBackbone,
  type Trained,
  type TrainingOptions,
} from "../../../models/trained.ts";
import { sum } from "../../../ops/add.ts";
import { embedding } from "../../../ops/embedding.ts";

/** Keys of `model_kwargs` that only this method has. */
export const options = {
  pause_config: { num_pauses: integer(0), answer_weight: number({ above: 0 }) },
};

interface PauseOptions extends TrainingOptions {
  readonly answer_generation_config: AnswerGeneration;
  readonly pause_config: { readonly num_pauses: number; readonly answer_weight: number };
}

class Pause implements Method {
  readonly backbone;
  readonly tokenizer;
  readonly speeds = ["auto"] as const;
  #context: MethodContext<PauseOptions>;
  #trained: Trained;

  constructor(context: MethodContext<PauseOptions>) {
    checkVocabulary(context.backbone, context.tokenizer);
    this.backbone = context.backbone;
    this.tokenizer = context.tokenizer;
    this.#context = context;
    this.#trained = trainBackbone(context.backbone, context.options, context.seed);
  }

  get parameters() {
    return this.#trained.parameters;
  }

  loss(g: Graph, rows: readonly QsaRow[]): Losses {
    const prompts = rows.map(({ question }) => this.#prompt(question));
    const answers = rows.map(({ answer }) => answerIds(this.tokenizer, answer));
    const ids = prompts.flatMap((prompt, i) => [...prompt, ...answers[i]]);
    const labels = prompts.flatMap((prompt, i) => [...prompt.map(() => IGNORED), ...answers[i]]);
    const lengths = prompts.map((prompt, i) => ({ length: prompt.length + answers[i].length }));
    const x = embedding(g, this.backbone.embeddings, Uint32Array.from(ids)); // [N, D]
    const { hidden } = this.backbone.forward(g, x, packRows(g.scope, lengths));
    const answerLoss = languageLoss(g, this.backbone, hidden, labels);
    const weight = this.#context.options.pause_config.answer_weight;
    const total = sum(g, [{ x: answerLoss, weight }]);
    return { total, parts: { answer_loss: answerLoss }, numTokens: ids.length };
  }

  async answer(questions: readonly Question[], how: AnswerOptions): Promise<Answer[]> {
    const { options, reasoningLength } = this.#context;
    const writer = {
      backbone: this.backbone,
      tokenizer: this.tokenizer,
      generation: options.answer_generation_config,
      reasoningLength,
      reasoningTokens: reasoningTokens(this.tokenizer),
    };
    const prompts = questions.map(({ question }) => this.#prompt(question));
    const answers = await textGenerate(writer, questions, prompts, how);
    const numPauses = options.pause_config.num_pauses;
    return answers.map((answer) => ({ ...answer, reasoningLength: numPauses }));
  }

  [Symbol.dispose](): void {
    this.#trained[Symbol.dispose]();
  }

  #prompt(question: string): number[] {
    const pauses = Array.from(
      { length: this.#context.options.pause_config.num_pauses },
      () => this.tokenizer.separatorId,
    );
    return [...promptIds(this.tokenizer, question, "auto"), ...pauses];
  }
}

const create: CreateMethod<PauseOptions> = (context) => Promise.resolve(new Pause(context));
export default create;
