/** A data set as text: rows, histograms and faults, as they are printed. */
import assert from "node:assert/strict";
import { describeDataset, histogram } from "../../data/describe.ts";

Deno.test("describe: a histogram has bins of a round width, from the first that holds something", () => {
  assert.deepEqual(histogram([4, 4, 6]), [
    "4      2 ########################################",
    "5      0",
    "6      1 ####################",
  ]);
  assert.deepEqual(histogram([35, 47, 0]), [
    "  0-4      1 ########################################",
    "  5-9      0",
    "10-14      0",
    "15-19      0",
    "20-24      0",
    "25-29      0",
    "30-34      0",
    "35-39      1 ########################################",
    "40-44      0",
    "45-49      1 ########################################",
  ]);
  assert.equal(histogram(Array.from({ length: 1000 }, (_, i) => i)).length, 10);
});

Deno.test("describe: three rows, the lengths of each part, and faults", () => {
  const row = (i: number) => ({
    question: `q${i}`,
    steps: ["<<1+1=2>>", "<<2+1=3>>"],
    answer: "3",
  });
  const dataset = { train: [], val: [], test: [0, 1, 2, 3].map(row) };
  const tokenizer = { encode: (text: string) => [...text].map(() => 0), eosToken: "." };
  const text = describeDataset(dataset, tokenizer);
  assert.deepEqual(text.split("\n").slice(0, 6), [
    "test 0",
    "  question: q0",
    "  steps:    <<1+1=2>>",
    "            <<2+1=3>>",
    "  answer:   3",
    "",
  ]);
  assert.ok(text.includes("test 2\n") && !text.includes("test 3\n"));
  // "###" + 9 + "\n" + 9 characters, and "Answer:3."
  assert.match(
    text,
    /test, ### and steps: tokens of 4 rows, median 22, 99 % up to 22, longest 22\n/,
  );
  assert.match(
    text,
    /test, answer: tokens of 4 rows, median 9, 99 % up to 9, longest 9\n {2}9 +4 #+\n/,
  );
  assert.ok(text.endsWith("\n\nNo row breaks a rule."));
  assert.ok(!text.includes("###: no token"));
  const faulty = { ...dataset, train: [row(0)] };
  assert.ok(
    describeDataset(faulty).endsWith(
      'Rows that break a rule:\n  1 of test with a question of train, first 0: "q0"',
    ),
  );
  assert.ok(!describeDataset(faulty).includes("tokens"));
});

Deno.test("describe: rows whose steps make one token with ###", () => {
  // A vocabulary with `###` and a line break as one token, as Llama's has.
  const tokenizer = {
    encode: (text: string) =>
      (text.match(/#+\n?|[^#]/gs) ?? []).map((piece) => 1000 * piece.length + piece.charCodeAt(0)),
    eosToken: ".",
    separatorTokens: "as-released" as const,
  };
  const rows = ["\ndef f():", "<<1+1=2>>", "", "a #"].map((step) => ({
    question: "q",
    steps: [step],
    answer: "2",
  }));
  const text = describeDataset({ train: rows, val: [], test: [] }, tokenizer);
  assert.ok(
    text.includes(
      "\n\ntrain, ###: no token of its own beside the steps of 2 of 4 rows, such as " +
        '"\\ndef f():"; trained on them, a model learns another separator: separator_tokens=alone keeps it\n\n',
    ),
    text,
  );
  const alone = { ...tokenizer, separatorTokens: "alone" as const };
  assert.ok(!describeDataset({ train: rows, val: [], test: [] }, alone).includes("no token"));
});
