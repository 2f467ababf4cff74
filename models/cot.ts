/**
 * CoT: the model is trained to write its steps as text, then the answer. Every latent method starts from it.
 *
 *   row     [question (Thinking speed: 1)] [### steps ###] [Answer:a eos]
 *   loss    mean of -log p(token | tokens before it) over steps and answer
 *   answer  question (Thinking speed: 1) ### -> text to eos; #L is the number of tokens before the next ###
 *
 * Source: Wei et al., arXiv 2201.11903; the published CoLaR code (models/cot.py, models/model_base.py: text_generate),
 * arXiv 2505.16552.
 *
 * **Deviations.** `corrected`: `###` is tokenised alone (`separator_tokens`), #L counts the tokens exactly
 * (`reasoning_length`), answers are drawn without top-k and never hold [PAD] (`top_k`, `pad_in_answer`). In both
 * profiles rows are packed: of the pads that the published code puts between question and steps one is kept, in rows with
 * shorter steps than the longest, because the first `###` is predicted from it (B12); draws are keyed by question and
 * position.
 */
import type { Graph } from "../autograd/tape.ts";
import { answerIds, cotStepsIds, questionIds, type Tokenizer } from "../data/prompt.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone } from "../llm/backbone.ts";
import { packRows } from "../llm/tokens.ts";
import { embedding } from "../ops/embedding.ts";
import { type AnswerGeneration, promptsOf } from "./answering.ts";
import { IGNORED, languageLoss } from "./language_loss.ts";
import type {
  Answer,
  AnswerOptions,
  CreateMethod,
  Losses,
  Method,
  MethodContext,
  Question,
} from "./method.ts";
import { textGenerate, type TextWriter, textWriter } from "./text_generate.ts";
import { checkVocabulary, trainBackbone, type Trained, type TrainingOptions } from "./trained.ts";

/** What CoT is built from: `model.model_kwargs` of the configuration. */
export interface CotOptions extends TrainingOptions {
  readonly answer_generation_config: AnswerGeneration;
}

/** The tokens of a batch, rows laid end to end. */
export interface CotBatch {
  /** [N] token ids. */
  readonly ids: Uint32Array;
  /** [N] labels, `IGNORED` where there is none. */
  readonly labels: Int32Array;
  /** For each row, 1 where a token is visible, 0 for its pad. */
  readonly visible: readonly (readonly number[])[];
}

/** The method; see the head of this file. */
export class Cot implements Method {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  readonly speeds = [1];
  #trained: Trained;
  #writer: TextWriter;

  constructor(context: MethodContext<CotOptions>) {
    const { backbone, tokenizer, options, seed } = context;
    checkVocabulary(backbone, tokenizer);
    this.backbone = backbone;
    this.tokenizer = tokenizer;
    this.#trained = trainBackbone(backbone, options, seed);
    this.#writer = textWriter(context);
  }

  get parameters(): Trained["parameters"] {
    return this.#trained.parameters;
  }

  loss(g: Graph, rows: readonly QsaRow[]): Losses {
    const batch = this.batch(rows);
    const total = languageLoss(g, this.backbone, this.hidden(g, batch), batch.labels);
    return { total, parts: {}, numTokens: batch.ids.length };
  }

  /** Hidden states of a batch's tokens, [N, D]. */
  hidden(g: Graph, { ids, visible }: CotBatch): Tensor {
    const tokens = packRows(g.scope, visible.map((row) => ({ length: row.length, visible: row })));
    return this.backbone.forward(g, embedding(g, this.backbone.embeddings, ids), tokens).hidden;
  }

  /**
   * Lays out a batch.
   * @throws {RangeError} without rows.
   */
  batch(rows: readonly QsaRow[]): CotBatch {
    if (rows.length === 0) throw new RangeError("cot: a batch needs at least one row");
    const { tokenizer } = this;
    const steps = rows.map((row) => cotStepsIds(tokenizer, row.steps));
    const longest = Math.max(...steps.map(({ length }) => length));
    const [ids, labels, visible] = [[] as number[], [] as number[], [] as number[][]];
    rows.forEach(({ question, answer }, i) => {
      const asked = questionIds(tokenizer, question, 1);
      const pad = steps[i].length < longest ? [tokenizer.padId] : [];
      const written = [...steps[i], ...answerIds(tokenizer, answer)];
      ids.push(...asked, ...pad, ...written);
      labels.push(...[...asked, ...pad].map(() => IGNORED), ...written);
      visible.push([...asked.map(() => 1), ...pad.map(() => 0), ...written.map(() => 1)]);
    });
    return { ids: Uint32Array.from(ids), labels: Int32Array.from(labels), visible };
  }

  answer(questions: readonly Question[], options: AnswerOptions): Promise<Answer[]> {
    const prompts = promptsOf(this.tokenizer, questions, options);
    return textGenerate(this.#writer, questions, prompts, options);
  }

  [Symbol.dispose](): void {
    this.#trained[Symbol.dispose]();
  }
}

const create: CreateMethod<CotOptions> = (context) => Promise.resolve(new Cot(context));
export default create;
