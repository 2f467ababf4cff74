/**
 * Coconut: stage by stage, steps of text give way to latents, hidden states that are fed back as input embeddings.
 *
 *   stage s  from how far training is (stages.ts);  r = the row's steps without the first s, none at the last stage
 *   row      [question (Thinking speed: auto) ###] [n_latents_per_step s latents] [r ###] [Answer:a eos]
 *   latent   z_1 = h(question's last token), z_{i+1} = h(z_i): last hidden states after the final norm, on one cache
 *   loss     mean of -log p(token | everything before it) over all tokens behind the latents; gradients flow through z
 *   answer   question (Thinking speed: auto) ### -> latents -> ### -> text to eos; #L is the number of latents: that of the
 *            last stage (6 by default), another one, or until the next token is ### (`n_latent_forward`)
 *
 * Source: Hao et al., Training Large Language Models to Reason in a Continuous Latent Space, arXiv 2412.06769; the
 * published CoLaR code (models/coconut.py, models/model_base.py: fixed_length_latent_generate), arXiv 2505.16552.
 *
 * **Deviations.** As in the published code latents have no `<bot>` and `<eot>` tokens around them and the optimizer goes
 * on through the stages. `corrected`: stages last n_epochs_per_stage, or are Coconut's own with `official` (`stage_rule`,
 * A3, A4), pads carry no label (`label_pads`, A5), the first token behind the latents does (`supervise_transition`, A6),
 * no line end stands before `###` (`final_newline`, A7), `###` is tokenised alone (`separator_tokens`), positions skip
 * pads (`position_ids`, A8), latents see the prompt when answering too (`cache_in_latent_loop`, A1), answers are without
 * top-k and [PAD] (`top_k`, `pad_in_answer`). In both profiles pads that no loss uses are not there, the stages may
 * follow shares of the run (`stage_ends`), answers may have another speed and number of latents than training
 * (`compression_factor`, `n_latent_forward`), and `current_stage` and `coconut_proj`, which nothing reads or which crash
 * there (C1), are no keys.
 */
import type { Graph } from "../autograd/tape.ts";
import { promptIds, type Tokenizer } from "../data/prompt.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Backbone } from "../llm/backbone.ts";
import type { AnswerGeneration } from "./answering.ts";
import {
  chainAnswers,
  type ChainGeneration,
  type ChainThinker,
  chainTraces,
} from "./chain_generate.ts";
import { thinkingSpeeds } from "./compression.ts";
import { type Chain, chainLatents, continueChain } from "./latent_chain.ts";
import type {
  Answer,
  AnswerOptions,
  CreateMethod,
  Losses,
  Method,
  MethodContext,
  Question,
  ThinkingSpeed,
  TracedAnswer,
  TraceOptions,
  TrainDraw,
} from "./method.ts";
import { type LaidRow, layFollowing, longestOf } from "./segments.ts";
import { checkStages, type Stage, stageAt, stagedFollowing, type StagedOptions } from "./stages.ts";
import { checkVocabulary, trainBackbone, type Trained, type TrainingOptions } from "./trained.ts";

/** What Coconut is built from: `model.model_kwargs` of the configuration; configs/models/coconut.yaml says what keys mean. */
export interface CoconutOptions extends TrainingOptions {
  readonly coconut_config: StagedOptions & { readonly n_latents_per_step: number };
  readonly latent_generation_config: ChainGeneration & { readonly cache_in_latent_loop: boolean };
  readonly answer_generation_config: AnswerGeneration;
}

/** The loss of a batch and what it was made of. */
export interface StageLoss extends Losses {
  readonly chain: Chain;
  /** What follows the latents in each row. */
  readonly following: readonly LaidRow[];
}

/** The method; see the head of this file. */
export class Coconut implements Method {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  readonly speeds: readonly ThinkingSpeed[];
  readonly #options: CoconutOptions;
  readonly #trained: Trained;

  /** @throws {RangeError} for stages that do not fit. */
  constructor({ backbone, tokenizer, options, seed }: MethodContext<CoconutOptions>) {
    checkVocabulary(backbone, tokenizer);
    checkStages(options.coconut_config);
    this.backbone = backbone;
    this.tokenizer = tokenizer;
    this.#options = options;
    this.speeds = thinkingSpeeds(options.latent_generation_config.compression_factor);
    this.#trained = trainBackbone(backbone, options, seed);
  }

  get parameters(): Trained["parameters"] {
    return this.#trained.parameters;
  }

  loss(g: Graph, rows: readonly QsaRow[], draw: TrainDraw): StageLoss {
    return this.stageLoss(g, rows, stageAt(this.#options.coconut_config, draw));
  }

  /**
   * The loss of a batch at a stage.
   * @throws {RangeError} without rows.
   */
  stageLoss(g: Graph, rows: readonly QsaRow[], stage: Stage): StageLoss {
    if (rows.length === 0) throw new RangeError("coconut: a batch needs at least one row");
    const { backbone, tokenizer } = this;
    const { coconut_config: config } = this.#options;
    const numLatents = stage.numReplaced * config.n_latents_per_step;
    const questions = rows.map(({ question }) => promptIds(tokenizer, question, "auto"));
    const following = layFollowing(
      rows.map((row) => stagedFollowing(tokenizer, row, stage, config.final_newline)),
      { ...config, column: longestOf(questions) + numLatents, padId: tokenizer.padId },
    );
    const chain = chainLatents(g, backbone, questions, {
      numLatents,
      room: following.map(({ length }) => length),
      positions: config.position_ids,
    });
    const { loss, tokens } = continueChain(g, backbone, chain, following);
    const numTokens = chain.numTokens + tokens.numTokens;
    return { total: loss, parts: {}, numTokens, chain, following };
  }

  answer(questions: readonly Question[], options: AnswerOptions): Promise<Answer[]> {
    return chainAnswers(this.thinker, questions, options);
  }

  trace(questions: readonly Question[], options: TraceOptions): Promise<TracedAnswer[]> {
    return chainTraces(this.thinker, questions, options);
  }

  /** What answers: as trained with as many latents as the last stage has. */
  get thinker(): ChainThinker {
    const { coconut_config: config, latent_generation_config: latent } = this.#options;
    return {
      backbone: this.backbone,
      tokenizer: this.tokenizer,
      numLatents: config.max_n_stage * config.n_latents_per_step,
      thinking: latent,
      cacheInLatentLoop: latent.cache_in_latent_loop,
      generation: this.#options.answer_generation_config,
    };
  }

  [Symbol.dispose](): void {
    this.#trained[Symbol.dispose]();
  }
}

const create: CreateMethod<CoconutOptions> = (context) => Promise.resolve(new Coconut(context));
export default create;
