/**
 * What a row should keep so that methods can learn from it and be scored on it; a row that does not is told, not refused.
 *
 * GSM8k-Aug has rows without an equation and 194 answers that are no numbers, MultiArith 20 questions that are there twice:
 * the published results are over all of them.
 */
import { parsePythonFloat } from "./answer.ts";
import type { QsaDataset, QsaRow } from "./qsa.ts";

/** Rows of a split that break a rule. */
export interface BrokenRule {
  readonly split: keyof QsaDataset;
  /** What is wrong with them. */
  readonly fault: string;
  readonly count: number;
  /** The first one, counted from 0. */
  readonly first: number;
}

type Fault = (row: QsaRow) => boolean;

const FAULTS: Readonly<Record<string, Fault>> = {
  "no step": ({ steps }) => steps.every((step) => step.trim() === ""),
  "an answer that is no number": ({ answer }) => numberOf(answer) === undefined,
  "a last equation with another result than the answer": ({ steps, answer }) => {
    const [, result] = /=([^=<>]*)>>\s*$/.exec(steps.at(-1) ?? "") ?? [];
    const [found, right] = [result && numberOf(result), numberOf(answer)];
    return typeof found === "number" && right !== undefined && Math.abs(found - right) > 0.01;
  },
  "a line break at the end of a step": ({ steps }) => steps.some((step) => /^\n|\n$/.test(step)),
  "### in its text, which ends a segment": ({ question, steps, answer }) =>
    [question, ...steps, answer].some((text) => text.includes("###")),
};

/** Every rule that a data set breaks, by split, in the order of the rules. */
export function brokenRules(dataset: QsaDataset): BrokenRule[] {
  const training = new Set(dataset.train.map(({ question }) => question));
  return (["train", "val", "test"] as const).flatMap((split) => {
    const seen = new Set<string>();
    const faults: Record<string, Fault> = {
      ...FAULTS,
      "a question that stands above in the split": ({ question }) =>
        seen.has(question) || !seen.add(question),
      ...split !== "train" && { "a question of train": ({ question }) => training.has(question) },
    };
    return Object.entries(faults).flatMap(([fault, breaks]) => {
      const indices = dataset[split].flatMap((row, index) => breaks(row) ? [index] : []);
      return indices.length > 0 ? [{ split, fault, count: indices.length, first: indices[0] }] : [];
    });
  });
}

function numberOf(text: string): number | undefined {
  return parsePythonFloat(text.replaceAll(/[,\n]/g, ""));
}
