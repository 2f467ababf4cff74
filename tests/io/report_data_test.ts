/** What a report reads of runs: curves, scores, answers; files that are torn, missing or not a run's. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { readRuns } from "../../io/report_data.ts";
import { quote } from "../../io/safetensors_header.ts";
import { inRuns, TEST, writeRun } from "./report_runs.ts";

Deno.test("report: curves, scores, questions and answers of two runs", () =>
  inRuns(async (parent) => {
    const train = '{"step":1,"loss":2.5,"split":"train"}\n{"step":2,"loss":"NaN"}\n' +
      '{"step":2,"val/acc":0.5}\n{"step":3,"loss":1.25}\n';
    const a = await writeRun(parent, "colar/arith/a", { train, test: TEST });
    const b = await writeRun(parent, "cot/arith/b", { train: "" });
    const [first, second, ...others] = await readRuns([a, b, join(b, ".")]);
    assert.deepEqual(others, [], "a run given twice is read twice");
    assert.deepEqual([first.name, second.name], ["colar/arith/a", "cot/arith/b"]);
    assert.equal(first.steps, 3);
    assert.deepEqual(first.curves, {
      loss: { steps: [1, 3], values: [2.5, 1.25], mean_of: 1 },
      "val/acc": { steps: [2], values: [0.5], mean_of: 1 },
    });
    assert.deepEqual(first.notes, ["loss is not finite at 1 step, first 2"]);
    assert.deepEqual(
      first.scores.map(({ label, is_own, kind, acc }) => [label, is_own, kind, acc]),
      [
        ["cot", false, "greedy", 1],
        ["colar, speed 2", true, "greedy", 0.5],
        ["colar, speed 2", true, "drawn", 0.25],
      ],
    );
    assert.deepEqual(first.questions, TEST.questions);
    assert.deepEqual(first.answers.map(({ index, acc, drawn }) => [index, acc, drawn]), [
      [0, 1, [1, 2]],
      [1, 0, [0, 2]],
    ]);
    assert.deepEqual([second.steps, second.curves, second.answers], [0, {}, []]);
    assert.deepEqual(second.notes, ["it was not tested"]);
  }));

Deno.test("report: a long curve is thinned to means, each at its last step", () =>
  inRuns(async (parent) => {
    const lines = Array.from({ length: 2001 }, (_, i) => `{"step":${i + 1},"loss":${i % 3}}\n`);
    const [{ curves: { loss } }] = await readRuns([
      await writeRun(parent, "a", { train: lines.join("") }),
    ]);
    assert.equal(loss.mean_of, 3);
    assert.deepEqual(loss.steps, Array.from({ length: 667 }, (_, i) => 3 * i + 3));
    assert.deepEqual(loss.values, Array.from({ length: 667 }, () => 1));
  }));

Deno.test("report: a shorter last group is the mean of what it has", () =>
  inRuns(async (parent) => {
    const lines = Array.from({ length: 1001 }, (_, i) => `{"step":${i},"loss":${i}}\n`);
    const [{ curves: { loss } }] = await readRuns([
      await writeRun(parent, "a", { train: lines.join("") }),
    ]);
    assert.deepEqual([loss.steps.at(-1), loss.values.at(-1), loss.values[0]], [1000, 1000, 0.5]);
  }));

Deno.test("report: a last line without its end is left out and said", () =>
  inRuns(async (parent) => {
    const run = await writeRun(parent, "a", { train: '{"step":1,"loss":2}\n{"step":2,"lo' });
    const [{ steps, notes }] = await readRuns([run]);
    assert.equal(steps, 1);
    assert.equal(notes[0], "the last line of train.json, 2, is torn and left out");
  }));

Deno.test("report: a test.json of before texts were kept is shown without them", () =>
  inRuns(async (parent) => {
    const { questions: _, ...test } = TEST;
    const [{ questions, answers, notes }] = await readRuns([await writeRun(parent, "a", { test })]);
    assert.deepEqual([questions, answers.length], [[], 2]);
    assert.deepEqual(notes, [
      "there is no train.json",
      "its test.json has no texts of questions; a new test writes them",
    ]);
  }));

const MADE = "must be what a test writes, JSON with rows and speeds; " +
  "test the checkpoint again, or leave the run out";
const refusals: [string, { train?: string; test?: unknown }, string, (run: string) => string][] = [
  [
    "a folder without either file",
    {},
    "RangeError",
    (run) =>
      `no run in ${
        quote(run)
      }: a run's folder has a train.json or a test.json; name folders below logs/`,
  ],
  [
    "a torn line before the last",
    { train: '{"step":1}\n{"step":2,"lo\n{"step":3}\n' },
    "SyntaxError",
    (run) =>
      `line 2 of ${quote(`${run}/train.json`)} must be a JSON object with a step, got ${
        quote('{"step":2,"lo')
      }; ` +
      "mend it, or leave the run out",
  ],
  [
    "a line without a step",
    { train: '{"loss":1}\n' },
    "SyntaxError",
    (run) =>
      `line 1 of ${quote(`${run}/train.json`)} must be a JSON object with a step, got ${
        quote('{"loss":1}')
      }; ` +
      "mend it, or leave the run out",
  ],
  ...([["a torn test.json", '{"rows": ['], ["a test.json of something else", { rows: [] }], [
    "a test.json with a score that is none",
    { ...TEST, rows: [{ label: "cot", greedy: { acc: "NaN" } }] },
  ], ["a test.json without predictions", { ...TEST, speeds: [{ speed: 2, greedy: {} }] }]] as const)
    .map(([name, test]): typeof refusals[number] => [
      name,
      { train: "", test },
      "SyntaxError",
      (run) => `${quote(`${run}/test.json`)} ${MADE}`,
    ]),
];
for (const [name, files, type, message] of refusals) {
  Deno.test(`report: ${name} is refused in a line`, () =>
    inRuns(async (parent) => {
      const run = await writeRun(parent, "a", files);
      await assert.rejects(readRuns([run]), { name: type, message: message(run) });
    }));
}
