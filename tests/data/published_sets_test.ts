/**
 * The real files of the data sets, of the folder that DATA_DIR names (else shared/data beside the project, where it is):
 * row counts and answers.
 *
 *     DATA_DIR/gsm8k/{train,test}.jsonl                     openai/grade-school-math at 3101c7d
 *     DATA_DIR/gsm8k-aug/{valid,test}.txt                   da03/Internalize_CoT_Step_by_Step at c2e3891, data/gsm8k
 *     DATA_DIR/gsm8k-aug/gsm_{valid,test}.coconut.json      the same rows as facebookresearch/coconut distributes them
 *     DATA_DIR/gsm8k-aug-train-noaug/gsm_train_noaug.{txt,json}   GSM8k-Aug's training rows that are no augmentations
 *     DATA_DIR/gsm-hard/gsmhardv2.jsonl                     reasoning-machines/pal at f81ca2a
 *     DATA_DIR/svamp/SVAMP.json                             arkilpatel/SVAMP at 689d7cc
 *     DATA_DIR/multiarith/MultiArith.json                   AGI-Edgerunners/LLM-Adapters at 8166572
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { parsePythonFloat } from "../../data/answer.ts";
import { parseQsa, type QsaRow } from "../../data/qsa.ts";
import { loadSource, type SourceOptions } from "../../data/source_dataset.ts";
import { realFolder } from "../real_files.ts";

const FOLDER = await realFolder("DATA_DIR", "data");
const OPTIONS = {
  gsm8kSteps: "equations",
  questionText: "tidy",
  boxedAnswer: "balanced",
  testSplit: "all",
} as const;

/** A test over one of the folders; it says why it is skipped. */
function onFiles(name: string, folder: string, check: (source: string) => Promise<void>) {
  Deno.test(`real files: ${name}`, async () => {
    if (FOLDER === undefined) {
      return console.log("  skipped: DATA_DIR names no folder of data sets");
    }
    await check(join(FOLDER, folder));
  });
}

async function load(source: string, options: Partial<SourceOptions> = {}) {
  return await loadSource({ ...OPTIONS, source, ...options });
}

const readJson = async (path: string) => JSON.parse(await Deno.readTextFile(path));
const readLines = async (path: string) =>
  (await Deno.readTextFile(path)).trim().split("\n").map((line) => JSON.parse(line));
const answers = (rows: readonly QsaRow[]) => rows.map(({ answer }) => parsePythonFloat(answer));

onFiles(
  "GSM8K has 7,473 and 1,319 rows; its equations are GSM8k-Aug's",
  "gsm8k",
  async (source) => {
    const { train, val, test } = await load(source, { testSplit: "test" });
    assert.deepEqual([train.length, val.length, test.length], [6725, 748, 1319]);
    const raw = await readLines(join(source, "train.jsonl"));
    const expected = raw.map(({ answer }) => answer.split("\n#### ")[1]);
    assert.deepEqual([...train, ...val].map(({ answer }) => answer), expected);
    const sentences = await load(source, { testSplit: "test", gsm8kSteps: "sentences" });
    sentences.train.forEach(({ steps, answer }, i) =>
      assert.equal(`${steps.join("\n")}\n#### ${answer}`, raw[i].answer.trim())
    );
    const augmented = await load(join(source, "../gsm8k-aug"), { testSplit: "test" });
    assert.deepEqual(test, augmented.test);
  },
);

onFiles("GSM8k-Aug has 500 and 1,319 rows, the same as Coconut's", "gsm8k-aug", async (source) => {
  const { train, val, test } = await load(source, { testSplit: "test" });
  assert.deepEqual([train.length, val.length, test.length], [0, 500, 1319]);
  for (const [name, rows] of [["valid", val], ["test", test]] as const) {
    const file = join(source, `gsm_${name}.coconut.json`);
    assert.deepEqual(rows, parseQsa(await readJson(file), file), name);
    assert.deepEqual((await load(file)).test, rows);
  }
  assert.equal(test.filter(({ steps }) => steps[0] === "").length, 18);
});

onFiles(
  "GSM8k-Aug's 6,973 training rows that are no augmentations are GSM8K's without its validation",
  "gsm8k-aug-train-noaug",
  async (source) => {
    const { test: rows } = await load(join(source, "gsm_train_noaug.txt"));
    assert.equal(rows.length, 6973);
    assert.equal(rows.filter(({ steps }) => steps[0] === "").length, 89);
    const file = join(source, "gsm_train_noaug.json");
    assert.deepEqual(rows, parseQsa(await readJson(file), file));
    const { train, val } = await load(join(source, "../gsm8k"), { testSplit: "test" });
    const { val: held } = await load(join(source, "../gsm8k-aug"), { testSplit: "test" });
    const questions = new Set(held.map(({ question }) => question));
    assert.deepEqual(rows, [...train, ...val].filter(({ question }) => !questions.has(question)));
  },
);

onFiles(
  "GSM-Hard has 1,319 rows, 303 of whose answers are no whole numbers",
  "gsm-hard",
  async (source) => {
    const { train, test } = await load(source);
    assert.deepEqual([train.length, test.length, test[0].answer], [0, 1319, "-9867630.0"]);
    const raw = await readLines(join(source, "gsmhardv2.jsonl"));
    assert.deepEqual(answers(test), raw.map(({ target }) => target));
    assert.equal(answers(test).filter((answer) => !Number.isInteger(answer)).length, 303);
    assert.deepEqual(test.map(({ steps }) => steps), raw.map(({ code }) => [code]));
  },
);

onFiles("SVAMP has 1,000 rows; 642 have the doubled full stop", "svamp", async (source) => {
  const { test } = await load(source);
  const raw = await readJson(join(source, "SVAMP.json"));
  assert.deepEqual(answers(test), raw.map(({ Answer }: { Answer: number }) => Answer));
  assert.equal(test[0].answer, "51.0");
  const released = await load(source, { questionText: "as-released" });
  assert.equal(released.test.length, 1000);
  const differ = released.test.filter(({ question }, i) => question !== test[i].question);
  assert.ok(differ.every(({ question }) => /\.\s*\. /.test(question)));
  assert.equal(differ.length, 642);
});

onFiles("MultiArith has 600 rows", "multiarith", async (source) => {
  const { test } = await load(source);
  const raw = await readJson(join(source, "MultiArith.json"));
  assert.deepEqual([test.length, test[0].answer], [600, "39.0"]);
  const solutions = raw.map(({ lSolutions }: { lSolutions: number[] }) => lSolutions[0]);
  assert.deepEqual(answers(test), solutions);
  assert.deepEqual(
    test.map(({ steps }) => steps),
    raw.map(({ lEquations }: { lEquations: string[] }) => lEquations),
  );
});
