/**
 * A method that teaches itself: what Distill and CODI share. They differ in settings only.
 *
 *   loss    teacher's weight * -log p(steps, answer | question) + student's * -log p(answer | question, z)
 *           + distill's * the distance of the student's hidden states to the teacher's (distillation.ts)
 *   answer  question (Thinking speed: auto) ### -> latents, n of them by default -> ### -> text to eos
 *
 * Source: Shen et al., CODI, arXiv 2502.21074; the published CoLaR code (models/distill.py).
 */
import type { Graph } from "../autograd/tape.ts";
import type { Tokenizer } from "../data/prompt.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone } from "../llm/backbone.ts";
import { sum } from "../ops/add.ts";
import type { AnswerGeneration } from "./answering.ts";
import {
  chainAnswers,
  type ChainGeneration,
  type ChainThinker,
  chainTraces,
} from "./chain_generate.ts";
import { thinkingSpeeds } from "./compression.ts";
import { distillation, type DistillationOptions, layerStates } from "./distillation.ts";
import type { Projection } from "./latent_chain.ts";
import { LatentProjector } from "./latent_projector.ts";
import type {
  Answer,
  AnswerOptions,
  Losses,
  Method,
  MethodContext,
  Question,
  ThinkingSpeed,
  TracedAnswer,
  TraceOptions,
  TrainedTensor,
} from "./method.ts";
import type { LayoutOptions } from "./segments.ts";
import { lessonBatch, study, teach } from "./teacher_student.ts";
import { checkVocabulary, trainBackbone, type Trained, type TrainingOptions } from "./trained.ts";

/** In what the methods differ. */
export interface SelfDistillationSettings {
  /** Latents in training. */
  readonly numLatents: number;
  /** Undefined: hidden states are fed as they are. */
  readonly projector:
    | { readonly intermediateSize: number; readonly layerNorm: boolean }
    | undefined;
  /** Whether the teacher reads the last step, from which the answer can be copied. */
  readonly includeLastStep: boolean;
  readonly teacherLayout: LayoutOptions;
  readonly studentLayout: LayoutOptions;
  readonly compared: DistillationOptions;
  readonly weights: {
    readonly teacher: number;
    readonly student: number;
    readonly distill: number;
  };
  /** How it thinks when answering. */
  readonly thinking: ChainGeneration;
  /** Whether latents see the prefix when answering (A1). */
  readonly cacheInLatentLoop: boolean;
  readonly generation: AnswerGeneration;
}

/** Losses of a batch, and what was compared. */
export interface Distilled extends Losses {
  /** Hidden states at the `:` of each row, layer after layer, [layers * B, D]. */
  readonly teacherStates: Tensor;
  readonly studentStates: Tensor;
  /** As fed, [B, D] each. */
  readonly latents: readonly Tensor[];
}

/** The method; see the head of this file. */
export class SelfDistillation implements Method {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  readonly speeds: readonly ThinkingSpeed[];
  readonly parameters: readonly TrainedTensor[];
  #trained: Trained;
  #projector: LatentProjector | undefined;

  constructor(
    { gpu, backbone, tokenizer, options, seed }: MethodContext<TrainingOptions>,
    readonly settings: SelfDistillationSettings,
  ) {
    checkVocabulary(backbone, tokenizer);
    this.backbone = backbone;
    this.tokenizer = tokenizer;
    this.speeds = thinkingSpeeds(settings.thinking.compression_factor);
    this.#trained = trainBackbone(backbone, options, seed);
    const { hiddenSize } = backbone;
    const form = settings.projector;
    this.#projector = form && new LatentProjector(gpu, { ...form, hiddenSize, seed });
    this.parameters = [...this.#trained.parameters, ...this.#projector?.parameters ?? []];
  }

  loss(g: Graph, rows: readonly QsaRow[]): Distilled {
    const { backbone, tokenizer } = this;
    const { compared, weights, numLatents, teacherLayout, studentLayout } = this.settings;
    const { padId } = tokenizer;
    const batch = lessonBatch(tokenizer, rows, this.settings.includeLastStep);
    const thinking = { numLatents, project: this.#project };
    const student = study(g, backbone, batch, { ...studentLayout, padId, ...thinking });
    const teacher = teach(g, backbone, batch, student.cache, { ...teacherLayout, padId });
    const teacherStates = layerStates(g, teacher.result, teacher.colons, compared);
    const studentStates = layerStates(g, student.result, student.colons, compared);
    const distill = distillation(g, studentStates, teacherStates, rows.length, compared);
    const total = sum(g, [
      { x: teacher.loss, weight: weights.teacher },
      { x: student.loss, weight: weights.student },
      { x: distill, weight: weights.distill },
    ]);
    return {
      total,
      parts: { teacher_loss: teacher.loss, student_loss: student.loss, distill_loss: distill },
      numTokens: teacher.numTokens + student.numTokens,
      teacherStates,
      studentStates,
      latents: student.latents,
    };
  }

  answer(questions: readonly Question[], options: AnswerOptions): Promise<Answer[]> {
    return chainAnswers(this.thinker, questions, options);
  }

  trace(questions: readonly Question[], options: TraceOptions): Promise<TracedAnswer[]> {
    return chainTraces(this.thinker, questions, options);
  }

  /** What answers. */
  get thinker(): ChainThinker {
    const { backbone, tokenizer, settings } = this;
    return { ...settings, backbone, tokenizer, project: this.#project };
  }

  get #project(): Projection | undefined {
    const projector = this.#projector;
    return projector && ((g, hidden) => projector.forward(g, hidden));
  }

  [Symbol.dispose](): void {
    this.#trained[Symbol.dispose]();
    this.#projector?.[Symbol.dispose]();
  }
}
