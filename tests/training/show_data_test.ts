/** The `data` command: the set that a run would read, with or without a tokenizer. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { showData } from "../../training/show_data.ts";

Deno.test("show data: generated rows with the embedded model's tokenizer", async () => {
  const text = await showData({
    workspace: ".",
    overrides: ["n_train=6", "n_val=2", "n_test=2"],
  });
  assert.ok(text.startsWith("arith: 6 train, 2 val, 2 test rows\n\ntrain 0\n  question: "), text);
  assert.match(text, /\ntrain, question and ###: tokens of 6 rows, median \d+,/);
  assert.ok(text.endsWith("No row breaks a rule."));
});

Deno.test("show data: a file, and a model that is not there", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const source = join(folder, "rows.jsonl");
    const svamp = { Body: "He has 2.", Question: "How many?", Equation: "( 2.0 )", Answer: 2 };
    await Deno.writeTextFile(source, JSON.stringify(svamp));
    const text = await showData({
      dataset: "svamp",
      workspace: folder,
      overrides: [`source=${source}`, "model_id=no-model"],
    });
    const lines = text.split("\n");
    assert.equal(lines[0], `svamp: 0 train, 0 val, 1 test rows (test_split=all) of ${source}`);
    assert.match(text, /\ntoken lengths are left out: model_id: no folder 'no-model'/);
    assert.match(text, /\ntest 0\n {2}question: He has 2\. How many\?\n {2}steps: {4}\( 2\.0 \)\n/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
