/**
 * What an evaluation reports: one record a question, their means, and two intervals.
 *
 * `paperInterval` is the published one: 1.96 standard deviations (ddof 0) over the square root of the number of test
 * runs. It shows only how much sampling varies for one checkpoint and one set of questions. `wilsonInterval` is the
 * 95 % interval over questions (E. B. Wilson 1927): what other questions of the same kind could have given.
 *
 * Source: the published CoLaR code (models/model_base.py: eval_generation; utils.py; run.py).
 *
 * **Deviations.** The published #L on correct answers is a mean of per-batch ratios with 1e-8 added to each
 * denominator; here sums run over all questions, so that batches do not matter. `released` keeps the 1e-8.
 */
import { extractAnswer, type Profile, verifyAnswer } from "./answer.ts";

/** One question's result, under the published names where these exist. */
export interface Prediction {
  /** Row of the split, from 0. */
  readonly index: number;
  readonly output_string: string;
  readonly pred_answer: string;
  readonly answer: string;
  /** 1 where the answer is right, else 0. */
  readonly acc: number;
  /** Latent forwards, or reasoning tokens of CoT. */
  readonly n_latent_forward: number;
  /** Generated tokens of the answer (CoT: of the output), end-of-text included. */
  readonly output_length: number;
}

/** Means over questions. */
export interface Metrics {
  readonly acc: number;
  readonly n_latent_forward: number;
  /** 0 where no answer is right. */
  readonly n_latent_forward_on_acc: number;
  readonly output_length: number;
}

/**
 * Scores one question.
 * @param answer the right answer
 * @param output generated text without special tokens
 */
export function scoreOutput(
  index: number,
  answer: string,
  output: string,
  lengths: Pick<Prediction, "n_latent_forward" | "output_length">,
): Prediction {
  const pred_answer = extractAnswer(output);
  const acc = verifyAnswer(answer, pred_answer) ? 1 : 0;
  return { index, output_string: output, pred_answer, answer, acc, ...lengths };
}

/**
 * Means of a test run.
 * @throws {RangeError} without predictions
 */
export function meanMetrics(
  predictions: readonly Prediction[],
  profile: Profile = "corrected",
): Metrics {
  const count = predictions.length;
  if (count === 0) throw new RangeError("metrics: no predictions; a test needs at least one row");
  const total = (of: (p: Prediction) => number) => predictions.reduce((sum, p) => sum + of(p), 0);
  const numCorrect = total((p) => p.acc);
  const onCorrect = total((p) => p.acc * p.n_latent_forward);
  return {
    acc: numCorrect / count,
    n_latent_forward: total((p) => p.n_latent_forward) / count,
    n_latent_forward_on_acc: profile === "released"
      ? onCorrect / (numCorrect + 1e-8)
      : numCorrect === 0
      ? 0
      : onCorrect / numCorrect,
    output_length: total((p) => p.output_length) / count,
  };
}

/** @returns the mean of some numbers, at least one */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * The paper's interval of repeated test runs.
 * @param values one metric, a value for each run
 * @returns half its width: 1.96 * std(ddof 0) / sqrt(number of runs)
 */
export function paperInterval(values: readonly number[]): number {
  const center = mean(values);
  const variance = mean(values.map((value) => (value - center) ** 2));
  return 1.96 * Math.sqrt(variance) / Math.sqrt(values.length);
}

/**
 * Wilson's 95 % interval of an accuracy over questions.
 * @param accuracy share of right answers, from 0 to 1; the mean of several runs over the same questions is allowed
 * @param numQuestions how many different questions (runs do not multiply them: the interval errs on the wide side)
 * @returns lower and upper end, from 0 to 1
 * @throws {RangeError} for an accuracy outside 0..1 or fewer than one question
 */
export function wilsonInterval(
  accuracy: number,
  numQuestions: number,
): [low: number, high: number] {
  if (!(accuracy >= 0 && accuracy <= 1) || !(numQuestions >= 1)) {
    throw new RangeError(
      `wilsonInterval: accuracy must be from 0 to 1 over at least one question, got ${accuracy} over ${numQuestions}`,
    );
  }
  const z = 1.959963984540054; // the normal distribution's 97.5 % point
  const shrink = 1 + z * z / numQuestions;
  const center = (accuracy + z * z / (2 * numQuestions)) / shrink;
  const spread = accuracy * (1 - accuracy) / numQuestions + (z / (2 * numQuestions)) ** 2;
  const half = z * Math.sqrt(spread) / shrink;
  // Rounding must not put the accuracy itself outside.
  return [
    Math.max(0, Math.min(accuracy, center - half)),
    Math.min(1, Math.max(accuracy, center + half)),
  ];
}
