/**
 * Answers the questions of a split and scores them: accuracy, #L, #L on correct answers, output length, time.
 *
 * Questions are answered `val_batch_size` at a time. A question is known by its row of the split, which keys its random
 * draws, so that no result depends on the batch, but for two that are published so: `latents_on_correct: mean_of_batches`,
 * and without `cache_in_latent_loop` the positions of the question, which count the batch's columns.
 */
import { inOrder } from "../data/batch.ts";
import { mean, meanMetrics, type Metrics, type Prediction, scoreOutput } from "../data/metrics.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Config } from "../io/config.ts";
import { withRowNames } from "../llm/positions.ts";
import type {
  Answer,
  AnswerOptions,
  Method,
  Question,
  ThinkingSpeed,
  TracedAnswer,
} from "../models/method.ts";

/** What one evaluation gives. */
export interface Evaluation {
  readonly metrics: Metrics;
  /** One for each question, in the order of the split. */
  readonly predictions: readonly Prediction[];
  /** With `layers`, the latents of each question, in the same order. */
  readonly traced: readonly TracedAnswer[];
  /** Wall time over the number of questions: it falls with `val_batch_size`. */
  readonly secondsPerQuestion: number;
}

/** How a split is evaluated. */
export interface EvaluateOptions extends AnswerOptions {
  readonly rows: readonly QsaRow[];
  readonly config: Pick<Config, "dataloader" | "evaluation">;
  /** Keep the latents, with the outputs of these blocks where they stand. @default {nothing is kept} */
  readonly layers?: readonly number[];
  /** Ends the evaluation between two batches. */
  readonly signal?: AbortSignal;
  /** Told the number of questions answered, after each batch. */
  readonly onProgress?: (numAnswered: number) => void;
}

/** The name of a number of validation or test at one speed: `acc` at the monitored speed, else `acc_speed5`. */
export function metricName(name: string, speed: ThinkingSpeed, monitored: ThinkingSpeed): string {
  return speed === monitored ? name : `${name}_speed${speed}`;
}

/**
 * Evaluates a method on rows.
 * @throws {RangeError} without rows, or when an answer is missing; the signal's reason when it is aborted.
 */
export async function evaluate(method: Method, options: EvaluateOptions): Promise<Evaluation> {
  const { rows, config, signal, onProgress, layers, ...answering } = options;
  const batches: Prediction[][] = [];
  const traced: TracedAnswer[] = [];
  let done = 0;
  const begin = performance.now();
  for (const batch of inOrder(rows.length, config.dataloader.val_batch_size)) {
    signal?.throwIfAborted();
    const questions = Array.from(batch, (id) => ({ id, question: rows[id].question }));
    const answers = await answered(questions, async () => {
      if (layers === undefined) return await method.answer(questions, answering);
      const kept = await tracing(method)(questions, { ...answering, layers });
      traced.push(...kept);
      return kept;
    });
    if (answers.length !== questions.length) {
      throw new RangeError(
        `answer() gave ${answers.length} answers to ${questions.length} questions; it must give one each`,
      );
    }
    batches.push(questions.map(({ id }, i) => score(id, rows[id], answers[i])));
    onProgress?.(done += questions.length);
  }
  const seconds = (performance.now() - begin) / 1000;
  const predictions = batches.flat();
  const metrics = meanMetrics(predictions);
  const perBatch = config.evaluation.latents_on_correct === "mean_of_batches";
  const onCorrect = batches.map((batch) => meanMetrics(batch, "released").n_latent_forward_on_acc);
  return {
    metrics: perBatch ? { ...metrics, n_latent_forward_on_acc: mean(onCorrect) } : metrics,
    predictions,
    traced,
    secondsPerQuestion: seconds / rows.length,
  };
}

/**
 * What answers and keeps latents.
 * @throws {RangeError} for a method that has none.
 */
export function tracing(method: Method): NonNullable<Method["trace"]> {
  if (method.trace) return method.trace.bind(method);
  throw new RangeError(
    "--save_latents: this method has no latents; it reasons in text or not at all",
  );
}

/** Answers a batch; a question that the model cannot place is named by its row of the split. */
async function answered(questions: readonly Question[], answer: () => Promise<Answer[]>) {
  try {
    return await answer();
  } catch (error) {
    throw withRowNames(error, questions.map(({ id }) => `question ${id}`));
  }
}

function score(id: number, row: QsaRow, { output, ids, reasoningLength }: Answer): Prediction {
  const lengths = { n_latent_forward: reasoningLength, output_length: ids.length };
  return scoreOutput(id, row.answer, output, lengths);
}
