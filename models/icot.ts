/**
 * iCoT: steps vanish from the text stage by stage, until the answer follows the question at once.
 *
 *   stage s  from how far training is (stages.ts);  r = the row's steps without the first s, none at the last stage
 *   row      [question (Thinking speed: auto) ###] [r ###] [Answer:a eos]
 *   loss     mean of -log p(token | tokens before it) over everything behind the question
 *   answer   question (Thinking speed: auto) ### -> text to eos; #L is the number of tokens before the next ###
 *
 * Source: Deng et al., From Explicit CoT to Implicit CoT, arXiv 2405.14838; the published CoLaR code (models/icot.py,
 * models/model_base.py: text_generate), arXiv 2505.16552.
 *
 * **Deviations.** As in the published CoLaR code whole steps vanish, a stage after the other, and one optimizer goes on
 * through them; iCoT's paper removes tokens, and renews the optimizer at each stage. `corrected`: stages last
 * n_epochs_per_stage (`stage_rule`, A3), pads carry no label (`label_pads`, A5), the first token behind the question does
 * (`supervise_transition`, A6), no line end stands before `###` (`final_newline`, A7), `###` is tokenised alone
 * (`separator_tokens`), positions skip pads (`position_ids`, A8), answers go on from the prompt of training
 * (`icot_prompt`, A2), without top-k and [PAD] (`top_k`, `pad_in_answer`), #L is exact (`reasoning_length`). In both
 * profiles pads that no loss uses are not there, and the stages may follow shares of the run (`stage_ends`).
 */
import type { Graph } from "../autograd/tape.ts";
import { promptIds, questionIds, type Tokenizer } from "../data/prompt.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Backbone } from "../llm/backbone.ts";
import { packRows } from "../llm/tokens.ts";
import { embedding } from "../ops/embedding.ts";
import { type AnswerGeneration, promptsOf } from "./answering.ts";
import { languageLoss } from "./language_loss.ts";
import type {
  Answer,
  AnswerOptions,
  CreateMethod,
  Losses,
  Method,
  MethodContext,
  Question,
  ThinkingSpeed,
  TrainDraw,
} from "./method.ts";
import {
  joinRows,
  type LaidRow,
  layFollowing,
  layQuestions,
  longestOf,
  packedIds,
  packedLabels,
} from "./segments.ts";
import { checkStages, type Stage, stageAt, stagedFollowing, type StagedOptions } from "./stages.ts";
import { textGenerate, type TextWriter, textWriter } from "./text_generate.ts";
import { checkVocabulary, trainBackbone, type Trained, type TrainingOptions } from "./trained.ts";

/** What iCoT is built from: `model.model_kwargs` of the configuration; configs/models/icot.yaml says what keys mean. */
export interface IcotOptions extends TrainingOptions {
  readonly icot_config: StagedOptions & { readonly icot_prompt: "as-released" | "training" };
  readonly answer_generation_config: AnswerGeneration;
}

/** The method; see the head of this file. */
export class Icot implements Method {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  readonly speeds: readonly ThinkingSpeed[] = ["auto"];
  readonly #options: IcotOptions;
  readonly #trained: Trained;
  readonly #writer: TextWriter;

  /** @throws {RangeError} for stages that do not fit. */
  constructor(context: MethodContext<IcotOptions>) {
    const { backbone, tokenizer, options, seed } = context;
    checkVocabulary(backbone, tokenizer);
    checkStages(options.icot_config);
    this.backbone = backbone;
    this.tokenizer = tokenizer;
    this.#options = options;
    this.#trained = trainBackbone(backbone, options, seed);
    this.#writer = textWriter(context);
  }

  get parameters(): Trained["parameters"] {
    return this.#trained.parameters;
  }

  loss(g: Graph, rows: readonly QsaRow[], draw: TrainDraw): Losses {
    return this.stageLoss(g, rows, stageAt(this.#options.icot_config, draw));
  }

  /** The loss of a batch at a stage. */
  stageLoss(g: Graph, rows: readonly QsaRow[], stage: Stage): Losses {
    const laid = this.batch(rows, stage);
    const ids = packedIds(laid);
    const x = embedding(g, this.backbone.embeddings, ids);
    const { hidden } = this.backbone.forward(g, x, packRows(g.scope, laid)); // [N, D]
    const total = languageLoss(g, this.backbone, hidden, packedLabels(laid));
    return { total, parts: {}, numTokens: ids.length };
  }

  /**
   * Lays out a batch.
   * @throws {RangeError} without rows.
   */
  batch(rows: readonly QsaRow[], stage: Stage): LaidRow[] {
    if (rows.length === 0) throw new RangeError("icot: a batch needs at least one row");
    const { tokenizer } = this;
    const { icot_config: config } = this.#options;
    const questions = rows.map(({ question }) => promptIds(tokenizer, question, "auto"));
    const following = rows.map((row) =>
      stagedFollowing(tokenizer, row, stage, config.final_newline)
    );
    const layout = { ...config, column: longestOf(questions), padId: tokenizer.padId };
    return joinRows(
      layQuestions(questions, config.position_ids),
      layFollowing(following, layout),
    );
  }

  answer(questions: readonly Question[], options: AnswerOptions): Promise<Answer[]> {
    const { tokenizer } = this;
    const prompts = this.#options.icot_config.icot_prompt === "training"
      ? promptsOf(tokenizer, questions, options)
      : questions.map(({ question }) => questionIds(tokenizer, question, ""));
    return textGenerate(this.#writer, questions, prompts, options);
  }

  [Symbol.dispose](): void {
    this.#trained[Symbol.dispose]();
  }
}

const create: CreateMethod<IcotOptions> = (context) => Promise.resolve(new Icot(context));
export default create;
