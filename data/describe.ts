/** A data set as text for its user: some rows, how long its parts are in tokens, and which rows break a rule. */
import {
  answerIds,
  colarStepsIds,
  type Encoder,
  promptIds,
  remainingStepsIds,
  separatorIds,
} from "./prompt.ts";
import type { QsaDataset, QsaRow } from "./qsa.ts";
import { brokenRules } from "./rules.ts";

const NUM_SHOWN = 3;
const MAX_MEASURED = 2000; // rows of a split: more say no more, and take a minute to tokenise
const NUM_BINS = 10;
const BAR_LENGTH = 40;

/**
 * Describes a data set.
 * @param tokenizer counts tokens; undefined leaves the histograms out
 */
export function describeDataset(dataset: QsaDataset, tokenizer?: Encoder): string {
  const splits = (["train", "val", "test"] as const).filter((split) => dataset[split].length > 0);
  const shown = dataset[splits[0]].slice(0, NUM_SHOWN).map((row, index) =>
    `${splits[0]} ${index}\n  question: ${row.question}\n  steps:    ${
      row.steps.join("\n").trim().replaceAll("\n", "\n            ")
    }\n  answer:   ${row.answer}`
  );
  const ofTokens = tokenizer === undefined ? [] : splits.flatMap((split) => {
    const rows = measured(dataset[split]);
    return [lengthsOf(split, rows, tokenizer), ...lostSeparators(split, rows, tokenizer)];
  });
  return [...shown, ...ofTokens, rulesText(dataset)].join("\n\n");
}

/**
 * A histogram as text: about ten bins of one round width, from the first that holds something, with a bar each.
 * @param values whole numbers from 0, at least one
 */
export function histogram(values: readonly number[]): string[] {
  const largest = values.reduce((max, value) => Math.max(max, value), 0);
  const width = roundWidth((largest + 1) / NUM_BINS);
  const counts: number[] = Array(Math.floor(largest / width) + 1).fill(0);
  for (const value of values) counts[Math.floor(value / width)]++;
  const most = counts.reduce((max, count) => Math.max(max, count), 0);
  const labels = counts.map((_, bin) =>
    width === 1 ? String(bin) : `${bin * width}-${(bin + 1) * width - 1}`
  );
  const labelWidth = Math.max(...labels.map(({ length }) => length));
  const lines = counts.map((count, bin) => {
    const bar = "#".repeat(Math.ceil(BAR_LENGTH * count / most));
    return `${labels[bin].padStart(labelWidth)} ${String(count).padStart(6)} ${bar}`.trimEnd();
  });
  return lines.slice(counts.findIndex((count) => count > 0));
}

/** The next of 1, 2, 5, 10, 20, ... */
function roundWidth(width: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, width)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((round) => round >= width)!;
}

/** The rows of a split that are tokenised, evenly spread. */
function measured(rows: readonly QsaRow[]): QsaRow[] {
  const stride = Math.max(1, rows.length / MAX_MEASURED);
  return Array.from(
    { length: Math.min(rows.length, MAX_MEASURED) },
    (_, i) => rows[Math.floor(i * stride)],
  );
}

function lengthsOf(split: string, rows: readonly QsaRow[], tokenizer: Encoder): string {
  const parts: readonly [name: string, ids: (row: QsaRow) => number[]][] = [
    ["question and ###", ({ question }) => promptIds(tokenizer, question, "auto")],
    ["### and steps", ({ steps }) => colarStepsIds(tokenizer, steps)],
    ["answer", ({ answer }) => answerIds(tokenizer, answer)],
  ];
  const blocks = parts.map(([name, ids]) => {
    const lengths = rows.map((row) => ids(row).length).sort((a, b) => a - b);
    const at = (share: number) => lengths[Math.floor(share * (lengths.length - 1))];
    const head = `${split}, ${name}: tokens of ${rows.length} rows, median ${at(0.5)}, 99 % ` +
      `up to ${at(0.99)}, longest ${at(1)}`;
    return [head, ...histogram(lengths).map((line) => `  ${line}`)].join("\n");
  });
  return blocks.join("\n");
}

/** Rows whose steps begin or end with what makes one token with `###`, as a line break does in Llama's vocabulary. */
function lostSeparators(split: string, rows: readonly QsaRow[], tokenizer: Encoder): string[] {
  const [separator] = separatorIds(tokenizer);
  const lost = rows.filter(({ steps }) =>
    colarStepsIds(tokenizer, steps)[0] !== separator ||
    remainingStepsIds(tokenizer, steps).at(-1) !== separator
  );
  if (lost.length === 0) return [];
  return [
    `${split}, ###: no token of its own beside the steps of ${lost.length} of ${rows.length} rows, such as ` +
    `${
      JSON.stringify(lost[0].steps.join("\n").slice(0, 40))
    }; trained on them, a model learns another separator: separator_tokens=alone keeps it`,
  ];
}

function rulesText(dataset: QsaDataset): string {
  const broken = brokenRules(dataset);
  if (broken.length === 0) return "No row breaks a rule.";
  return [
    "Rows that break a rule:",
    ...broken.map(({ split, fault, count, first }) =>
      `  ${count} of ${split} with ${fault}, first ${first}: ${
        JSON.stringify(dataset[split][first].question.slice(0, 60))
      }`
    ),
  ].join("\n");
}
