/** Files of data sets: each format gives the same records, and a fault is named by file and line. */
import assert from "node:assert/strict";
import { parseRecords } from "../../data/records.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const excerpt = (name: string) => Deno.readFile(new URL(`excerpts/${name}`, import.meta.url));

Deno.test("records: an array, a record per line, and lines of GSM8k-Aug", async () => {
  const records = [{ a: 1 }, { a: "½" }];
  assert.deepEqual(await parseRecords("x.json", bytes(JSON.stringify(records))), records);
  const lines = records.map((record) => JSON.stringify(record)).join("\r\n") + "\n\n";
  for (const name of ["x.jsonl", "x.json"]) {
    assert.deepEqual(await parseRecords(name, bytes(lines)), records);
  }
  const text = "Is 1||2 right? 3 #### 4||<<1+2=3>> <<3+4=7>> #### 7\nNo steps?|| #### about 5\n";
  assert.deepEqual(await parseRecords("train.txt", bytes(text)), [
    { question: "Is 1", cot: "2 right? 3 #### 4||<<1+2=3>> <<3+4=7>>", answer: "7" },
    { question: "No steps?", cot: "", answer: "about 5" },
  ]);
});

Deno.test("records: parquet with snappy and with zstd, text and lists of text", async () => {
  const test = await parseRecords("test.parquet", await excerpt("gsm8k_test.parquet"));
  assert.equal(test.length, 4);
  assert.ok(String(test[0].question).startsWith("Janet’s ducks lay 16 eggs per day."));
  assert.ok(String(test[0].answer).endsWith("\n#### 18"));
  const aug = await parseRecords("aug.parquet", await excerpt("gsm8k_aug_cot.parquet"));
  assert.deepEqual(aug.map(({ cot, answer }) => [cot, answer]).slice(0, 2), [
    [[""], "26"],
    [["<<16-3-4=9>>", "<<9*2=18>>"], "18"],
  ]);
});

Deno.test("records: a fault is one line that names file and place", async () => {
  const refused: readonly [name: string, content: Uint8Array, message: string | RegExp][] = [
    ["a.csv", bytes("x"), "a.csv: a data set's file ends in .json, .jsonl, .parquet or .txt"],
    [
      "a.json",
      new Uint8Array([0xff, 0xfe]),
      "a.json: not UTF-8; convert it, as with iconv -t UTF-8",
    ],
    ["a.json", bytes("[\n1,"), /^a\.json: not valid JSON \([^\n]+\)$/],
    ["a.jsonl", bytes('{"a":1}\n{"a"\n'), /^a\.jsonl: line 2: not valid JSON \([^\n]+\)$/],
    ["a.jsonl", bytes('{"a":1}\n[2]\n'), "a.jsonl: row 1: expected an object with columns"],
    ["a.json", bytes('[{"a":1}, null]'), "a.json: row 1: expected an object with columns"],
    [
      "a.txt",
      bytes("no bar #### 3"),
      "a.txt: line 1: expected question||<<1+2=3>> ... #### answer",
    ],
    ["a.txt", bytes("q||no mark"), "a.txt: line 1: expected question||<<1+2=3>> ... #### answer"],
    [
      "train.txt",
      bytes("version https://git-lfs.github.com/spec/v1\noid sha256:0a39\n"),
      "train.txt: a Git LFS pointer instead of the file; fetch it: git lfs pull",
    ],
    [
      "train.parquet",
      bytes("version https://git-lfs.github.com/spec/v1\noid sha256:0a39\n"),
      "train.parquet: a Git LFS pointer instead of the file; fetch it: git lfs pull",
    ],
    ["a.parquet", bytes("PAR1"), /^a\.parquet: not a parquet file that can be read \([^\n]+\)$/],
    [
      "a.parquet",
      (await excerpt("gsm8k_test.parquet")).subarray(0, 2000),
      /^a\.parquet: not a parquet file that can be read \([^\n]+\)$/,
    ],
  ];
  for (const [name, content, message] of refused) {
    await assert.rejects(parseRecords(name, content), { name: "TypeError", message });
  }
});
