/** Rows of question, steps and answer: what is accepted, and how a broken row is named. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { loadQsa, parseQsa, type QsaRow, tinyDataset } from "../../data/qsa.ts";
import { golden } from "../methods_text.ts";

const ROW: QsaRow = { question: "1 + 1?", steps: ["<<1+1=2>>"], answer: "2" };

Deno.test("qsa: rows are taken as they are, other keys are left out", async () => {
  assert.deepEqual(parseQsa([{ ...ROW, idx: 3 }], "f"), [ROW]);
  const unusual = { question: "q", steps: [""], answer: "about 3/4" };
  assert.deepEqual(parseQsa([unusual, { ...unusual, steps: [] }], "f")[0], unusual);
  assert.equal(parseQsa(await golden("rows"), "rows.json").length, 6);
});

Deno.test("qsa: a broken row is named by file, index and field", () => {
  const refused: readonly [json: unknown, error: string, message: string][] = [
    [{}, "TypeError", `f.json: expected a JSON array of rows FORM, got {}`],
    [[], "RangeError", "f.json: has no rows; a split needs at least one"],
    [[ROW, null], "TypeError", "f.json: row 1: expected FORM, got null"],
    [[ROW, [1]], "TypeError", "f.json: row 1: expected FORM, got [1]"],
    [
      [{ ...ROW, question: " " }],
      "TypeError",
      `f.json: row 0: 'question' must be a string with text, got " "`,
    ],
    [
      [{ steps: [], answer: "1" }],
      "TypeError",
      "f.json: row 0: 'question' must be a string with text, got undefined",
    ],
    [
      [{ ...ROW, steps: "<<1+1=2>>" }],
      "TypeError",
      `f.json: row 0: 'steps' must be a list of strings, got "<<1+1=2>>"; write [] where there is none`,
    ],
    [
      [ROW, ROW, { ...ROW, steps: ["a", 2] }],
      "TypeError",
      "f.json: row 2: 'steps[1]' must be a string, got 2",
    ],
    [
      [{ ...ROW, answer: 18 }],
      "TypeError",
      `f.json: row 0: 'answer' must be a string with text, got 18; write "18"`,
    ],
    [
      [{ ...ROW, answer: 18n }],
      "TypeError",
      `f.json: row 0: 'answer' must be a string with text, got 18; write "18"`,
    ],
    [
      [{ ...ROW, answer: "" }],
      "TypeError",
      `f.json: row 0: 'answer' must be a string with text, got ""`,
    ],
    [
      [{ ...ROW, answer: Array(60).fill(1) }],
      "TypeError",
      `f.json: row 0: 'answer' must be a string with text, got ${"[1,".padEnd(40, "1,")}...`,
    ],
  ];
  const form = '{"question": "...", "steps": ["..."], "answer": "..."}';
  for (const [json, name, message] of refused) {
    assert.throws(() => parseQsa(json, "f.json"), { name, message: message.replace("FORM", form) });
  }
});

Deno.test("qsa: a folder loads; its broken row is named with its path; tiny takes the first rows", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const split of ["train", "val", "test"]) {
      const rows = Array.from({ length: 40 }, (_, i) => ({ ...ROW, answer: `${split} ${i}` }));
      await Deno.writeTextFile(join(folder, `${split}.json`), JSON.stringify(rows));
    }
    const dataset = await loadQsa(folder);
    assert.deepEqual(dataset.val[39], { ...ROW, answer: "val 39" });
    const tiny = tinyDataset(dataset);
    assert.deepEqual([tiny.train.length, tiny.val.length, tiny.test.length], [32, 32, 32]);
    assert.deepEqual(tinyDataset(dataset, 1).test, [{ ...ROW, answer: "test 0" }]);
    await Deno.writeTextFile(join(folder, "test.json"), JSON.stringify([{ ...ROW, steps: null }]));
    await assert.rejects(loadQsa(folder), {
      name: "TypeError",
      message: `${folder}/test.json: row 0: 'steps' must be a list of strings, got null; ` +
        "write [] where there is none",
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
