/** Records of each data set to rows: by their columns, as the published scripts do, and with each switch. */
import assert from "node:assert/strict";
import { type ColumnOptions, convertRecords } from "../../data/columns.ts";
import type { DataRecord } from "../../data/records.ts";
import { type Profile, SWITCHES } from "../../io/config_profile.ts";

const presets = (profile: Profile): ColumnOptions => ({
  gsm8kSteps: SWITCHES.gsm8k_steps[profile],
  questionText: SWITCHES.question_text[profile],
  boxedAnswer: SWITCHES.boxed_answer[profile],
});
const CORRECTED = presets("corrected");
const RELEASED = presets("released");

const one = (record: DataRecord, options = CORRECTED) => {
  const { rows, form } = convertRecords("f", [record], options);
  return { form, ...rows[0] };
};

Deno.test("columns: our own form and the three of GSM8k-Aug", () => {
  const row = { question: "q", steps: ["<<1+2=3>>", "<<3*2=6>>"], answer: "6" };
  assert.deepEqual(one({ ...row, idx: 7 }), { form: "qsa", ...row });
  const { steps, ...rest } = row;
  for (const cot of [steps, steps.join(" "), steps.join("\n")]) {
    assert.deepEqual(one({ ...rest, cot }), { form: "gsm8k_aug", ...row });
  }
  assert.deepEqual(one({ ...rest, cot: "" }).steps, [""]);
  assert.deepEqual(one({ ...rest, cot: [] }).steps, [""]);
  assert.deepEqual(one({ ...rest, cot: "First.\nSecond." }).steps, ["First.", "Second."]);
});

Deno.test("columns: GSM8K's sentences, or the equations in them", () => {
  const record = {
    question: "q",
    answer: "Half is 48/2 = <<48/2=24>>24.\nBoth are 48+24 = <<48+24=72>>72.\n#### 1,072",
  };
  assert.deepEqual(one(record), {
    form: "gsm8k",
    question: "q",
    steps: ["<<48/2=24>>", "<<48+24=72>>"],
    answer: "1,072",
  });
  assert.deepEqual(one(record, RELEASED).steps, [
    "Half is 48/2 = <<48/2=24>>24.",
    "Both are 48+24 = <<48+24=72>>72.",
  ]);
  assert.deepEqual(one({ question: "q", answer: "Easy.\n#### 5" }).steps, [""]);
});

Deno.test("columns: GSM-Hard, SVAMP and MultiArith, answers as Python writes floats", () => {
  assert.deepEqual(one({ input: "q", code: "def f(): pass", target: -9867630 }), {
    form: "gsm_hard",
    question: "q",
    steps: ["def f(): pass"],
    answer: "-9867630.0",
  });
  const svamp = { Body: "He had 3 dogs. ", Question: "How many?", Equation: "( 3.0 )", Answer: 3 };
  assert.deepEqual(one(svamp), {
    form: "svamp",
    question: "He had 3 dogs. How many?",
    steps: ["( 3.0 )"],
    answer: "3.0",
  });
  assert.equal(one({ ...svamp, Body: "If so" }).question, "If so. How many?");
  assert.equal(one({ ...svamp, Body: "So." }, RELEASED).question, "So.. How many?");
  const multi = { sQuestion: " How many? ", lEquations: ["X=(1.0+2.0)"], lSolutions: [3] };
  assert.deepEqual(one(multi), {
    form: "multiarith",
    question: "How many?",
    steps: ["X=(1.0+2.0)"],
    answer: "3.0",
  });
  assert.equal(one(multi, RELEASED).question, " How many? ");
  assert.equal(one({ ...multi, lSolutions: [3n] }).answer, "3"); // a long integer of parquet
  assert.deepEqual(one({ question: " How many? ", final_ans: "3" }), {
    form: "multiarith",
    question: "How many?",
    steps: [],
    answer: "3",
  });
});

Deno.test("columns: MATH keeps the rows whose box can be read and counts the others", () => {
  const records = ["So $\\boxed{\\frac{1}{2}}$.", "none", "$\\boxed{1}$, $\\boxed{2}$"]
    .map((solution) => ({ problem: "p", solution, answer: "not read", level: "Level 1" }));
  const { rows, numDropped, form } = convertRecords("f", records, CORRECTED);
  assert.deepEqual([rows.map(({ answer }) => answer), numDropped, form], [
    ["\\frac{1}{2}", "2"],
    1,
    "math",
  ]);
  assert.equal(convertRecords("f", records, RELEASED).numDropped, 2);
});

Deno.test("columns: what cannot be a data set is named", () => {
  const convert = (...records: DataRecord[]) => () => convertRecords("f.json", records, CORRECTED);
  assert.throws(convert(), { name: "RangeError", message: "f.json: has no rows" });
  assert.throws(convert({ text: "t", label: 1 }), {
    name: "TypeError",
    message:
      /^f\.json: has the columns text, label; a data set has one of question\+steps\+answer, /,
  });
  assert.throws(convert({ question: "q", steps: ["s"], answer: "1" }, { question: "q" }), {
    name: "TypeError",
    message: /^f\.json: row 1: 'steps' must be a list of strings, got undefined/,
  });
  assert.throws(convert({ question: "q", answer: "no mark" }), {
    name: "TypeError",
    message: /^f\.json: row 0: 'steps' must be a list of strings/,
  });
  const svamp = { Body: "He had 3.", Question: "How many?", Equation: "3", Answer: 3 };
  assert.throws(convert(svamp, { ...svamp, Body: undefined }), {
    name: "TypeError",
    message: "f.json: row 1: 'question' must be a string with text, got undefined",
  });
  const multi = { question: "q", final_ans: "3" };
  assert.throws(convert(multi, { ...multi, final_ans: null }), {
    name: "TypeError",
    message: "f.json: row 1: 'answer' must be a string with text, got null",
  });
  assert.throws(convert({ problem: "p", solution: "none" }), {
    name: "RangeError",
    message: "f.json: no row has an answer in \\boxed{}",
  });
});
