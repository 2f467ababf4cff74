/** Rules of a data set: each fault is found where it is, and a good set has none. */
import assert from "node:assert/strict";
import { arithDataset } from "../../data/arith.ts";
import type { QsaRow } from "../../data/qsa.ts";
import { brokenRules } from "../../data/rules.ts";

const row = (question: string, steps: string[] = ["<<1+2=3>>"], answer = "3"): QsaRow => ({
  question,
  steps,
  answer,
});

Deno.test("rules: a good set breaks none", () => {
  assert.deepEqual(brokenRules(arithDataset({ train: 20, val: 5, test: 5 })), []);
  const test = [row("a", ["<<1/3=.33>>"], "0.33"), row("b", ["<<999+1=1000>>"], "1,000")];
  assert.deepEqual(brokenRules({ train: [row("c", ["In words."])], val: [], test }), []);
});

Deno.test("rules: each fault with its count and the first row that has it", () => {
  const train = [row("a"), row("b", [""]), row("c", []), row("a")];
  const test = [
    row("d", ["<<1+2=3>>"], "4"),
    row("e", ["<<1+2=3>>"], "3 apples"),
    row("f ###"),
    row("b", ["x\n"]),
    row("g", ["<<1+2=4>>"]),
  ];
  assert.deepEqual(brokenRules({ train, val: [], test }), [
    { split: "train", fault: "no step", count: 2, first: 1 },
    { split: "train", fault: "a question that stands above in the split", count: 1, first: 3 },
    { split: "test", fault: "an answer that is no number", count: 1, first: 1 },
    {
      split: "test",
      fault: "a last equation with another result than the answer",
      count: 2,
      first: 0,
    },
    { split: "test", fault: "a line break at the end of a step", count: 1, first: 3 },
    { split: "test", fault: "### in its text, which ends a segment", count: 1, first: 2 },
    { split: "test", fault: "a question of train", count: 1, first: 3 },
  ]);
});
