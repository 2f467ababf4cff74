/**
 * What the harness asks of a method, and what it gives it: training calls `loss`, evaluation calls `answer`.
 *
 * A method is one file in models/ whose default export is a `CreateMethod`; a configuration names it as `target`.
 */
import type { Graph } from "../autograd/tape.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Tokenizer } from "../data/prompt.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone } from "../llm/backbone.ts";

/** A thinking speed: tokens per latent, or `auto`. */
export type ThinkingSpeed = number | "auto";

/** A trained tensor under the name that checkpoints know it by: the published state dict's. */
export interface TrainedTensor {
  readonly name: string;
  /** f32, with its gradient. */
  readonly tensor: Tensor;
}

/**
 * Where training stands. Seed and step key its random numbers: every draw is a function of these and of the row, and of
 * nothing else.
 */
export interface TrainDraw {
  readonly seed: number;
  /** Batches seen so far, over the whole run. */
  readonly step: number;
  /** Epochs done. */
  readonly epoch: number;
  /** Share of the run's optimizer steps that are done, from 0 to below 1. */
  readonly progress: number;
}

/** Losses of one batch, on the device: nothing has been read back. */
export interface Losses {
  /** What is minimised, [1]. */
  readonly total: Tensor;
  /** Its parts by name, [1] each: `ce_loss`, `embed_modeling_loss`, ... */
  readonly parts: Readonly<Record<string, Tensor>>;
  /** Tokens and latents that the backbone computed, for tokens per second. */
  readonly numTokens: number;
}

/** How questions are answered. */
export interface AnswerOptions {
  /** Of questions that have none of their own. */
  readonly speed: ThinkingSpeed;
  /** True: latents are means, the end of thinking and the tokens are the most probable. False: all are drawn. */
  readonly greedy: boolean;
  /** Keys the draws, together with a question's id and the position: no answer depends on the batch. */
  readonly seed: number;
}

/** A question with the number that identifies it in its split. */
export interface Question {
  readonly id: number;
  readonly question: string;
  /** The thinking speed that its prompt names. @default {that of the options} */
  readonly speed?: ThinkingSpeed;
}

/** What a method made of one question. */
export interface Answer {
  /** Decoded output, the special tokens left out. */
  readonly output: string;
  /** Token ids of the output, the end token included. */
  readonly ids: readonly number[];
  /** #L: latent forwards, or reasoning tokens. */
  readonly reasoningLength: number;
}

/** Numbers of one question's latents by name, latents laid end to end; latent_trace.ts has the names. */
export type LatentTrace = Readonly<Record<string, Float32Array<ArrayBuffer>>>;

/** An answer with its latents; their number is `reasoningLength`. */
export interface TracedAnswer extends Answer {
  readonly trace: LatentTrace;
}

/** How latents are kept. */
export interface TraceOptions extends AnswerOptions {
  /** Blocks whose outputs are kept where latents stand, from 1. */
  readonly layers: readonly number[];
}

/** Keys of the random numbers of samples. */
export interface SampleDraw {
  readonly seed: number;
  /** A number for each sample that no other sample of the run has. */
  readonly sampleIds: readonly number[];
}

/** One sampled answer; a method keeps with it what it needs to compute its log-probabilities again. */
export interface Rollout {
  readonly answer: Answer;
  /** Log-probabilities by part, as drawn; absent where they must be computed anew. */
  readonly logProbs?: Readonly<Record<string, Float32Array>>;
}

/** Log-probabilities of rollouts, on the device. */
export interface PolicyLogProbs {
  /** By part: [N] numbers, rollouts laid end to end, and how many are each rollout's. */
  readonly parts: Readonly<
    Record<string, { readonly logProbs: Tensor; readonly lengths: readonly number[] }>
  >;
  /** Tokens and latents that the backbone computed. */
  readonly numTokens: number;
}

/** What reinforcement asks of a method: samples, and the log-probabilities of their parts. */
export interface Policy {
  /** What a loss is made of each: `latent`, `answer`, ... */
  readonly parts: readonly string[];
  /** Samples an answer to each question; a question may be there several times. */
  rollout(questions: readonly string[], draw: SampleDraw): Promise<Rollout[]>;
  /** Log-probabilities under the parameters as they are, recorded on `g`. */
  logProbs(g: Graph, rollouts: readonly Rollout[]): PolicyLogProbs;
}

/** A method, built on a backbone. */
export interface Method extends Disposable {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  /** What is trained, in a fixed order. */
  readonly parameters: readonly TrainedTensor[];
  /** Speeds that validation and test report; the first is monitored. */
  readonly speeds: readonly ThinkingSpeed[];
  /** How it samples, where it is built to be reinforced. */
  readonly policy?: Policy;
  /** Losses of one batch of rows, recorded on `g`. */
  loss(g: Graph, rows: readonly QsaRow[], draw: TrainDraw): Losses;
  /** Answers questions, in their order. */
  answer(questions: readonly Question[], options: AnswerOptions): Promise<Answer[]>;
  /** The same answers with their latents, where it has any: slower, for they are read. */
  trace?(questions: readonly Question[], options: TraceOptions): Promise<TracedAnswer[]>;
}

/** What a method is built from. `C` is its part of the configuration: `model.model_kwargs`. */
export interface MethodContext<C> {
  readonly gpu: Gpu;
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  /** Every switch resolved. */
  readonly options: C;
  /** How #L of text is counted (evaluation.reasoning_length). */
  readonly reasoningLength: "as-released" | "exact";
  /** Keys the initial values. */
  readonly seed: number;
}

/** The default export of a method's file. */
export type CreateMethod<C> = (context: MethodContext<C>) => Promise<Method>;
