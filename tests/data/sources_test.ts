/** Which file is which part of a data set: names on the Hub, in its converted branch, and on a disk. */
import assert from "node:assert/strict";
import { filesBySplit, filesOfConfig, knownFiles, parseHubSource } from "../../data/sources.ts";

Deno.test("sources: what a Hub set's name says", () => {
  const none = { folder: undefined, revision: undefined };
  assert.deepEqual(parseHubSource("openai/gsm8k"), { repo: "openai/gsm8k", ...none });
  assert.deepEqual(parseHubSource("openai/gsm8k@refs/pr/1"), {
    repo: "openai/gsm8k",
    folder: undefined,
    revision: "refs/pr/1",
  });
  assert.deepEqual(parseHubSource("EleutherAI/hendrycks_math/algebra@main"), {
    repo: "EleutherAI/hendrycks_math",
    folder: "algebra",
    revision: "main",
  });
  for (const no of ["gsm8k", "/data/gsm8k", "./gsm8k", "../a/b", "a/b c", ""]) {
    assert.equal(parseHubSource(no), undefined, no);
  }
  for (const no of ["a/b@../../c", "a/b@/c", "a/..b", "a--b/c", "a/b/c@..", "a/b@c\\d"]) {
    assert.equal(parseHubSource(no), undefined, no); // would lead out of the cache, or to another's
  }
});

Deno.test("sources: known sets have their files, whatever the case of their name", () => {
  assert.deepEqual(knownFiles({ repo: "OpenAI/GSM8K" })?.test, [
    "main/test-00000-of-00001.parquet",
  ]);
  assert.equal(knownFiles({ repo: "EleutherAI/hendrycks_math" })?.train?.length, 7);
  assert.equal(knownFiles({ repo: "openai/gsm8k", folder: "socratic" }), undefined);
  assert.equal(knownFiles({ repo: "toString" }), undefined);
});

Deno.test("sources: parts by the names of files and folders", () => {
  const cases: readonly [paths: string[], expected: unknown][] = [
    [["b/LICENSE", "test.jsonl", "train.jsonl"], { train: ["train.jsonl"], test: ["test.jsonl"] }],
    [["valid.txt", "test.txt", "gsm_test.coconut.json"], {
      val: ["valid.txt"],
      test: ["test.txt"],
    }],
    [["main/train-00000-of-00002.parquet", "main/train-00001-of-00002.parquet"], {
      train: ["main/train-00000-of-00002.parquet", "main/train-00001-of-00002.parquet"],
    }],
    [[
      "default/validation/0000.parquet",
      "default/train/0001.parquet",
      "default/train/0000.parquet",
    ], {
      train: ["default/train/0000.parquet", "default/train/0001.parquet"],
      val: ["default/validation/0000.parquet"],
    }],
    [["geometry/test-00000-of-00001.parquet", "algebra/test-00000-of-00001.parquet"], {
      test: ["algebra/test-00000-of-00001.parquet", "geometry/test-00000-of-00001.parquet"],
    }],
    [["SVAMP.json", "SOURCE.md"], { all: ["SVAMP.json"] }],
    [["training_notes.json"], { all: ["training_notes.json"] }],
  ];
  for (const [paths, expected] of cases) {
    assert.deepEqual({ ...filesBySplit(paths, "x") }, expected);
  }
  assert.deepEqual(filesOfConfig(["a/train.json", "default/train.json"]), ["default/train.json"]);
  assert.deepEqual(filesOfConfig(["a/train.json", "main/train.json"]), ["main/train.json"]);
  assert.deepEqual(filesOfConfig(["a/train.json", "b/train.json"], "b"), ["b/train.json"]);
  assert.deepEqual(filesOfConfig(["a/train.json"]), ["a/train.json"]);
});

Deno.test("sources: what names do not tell is asked for", () => {
  const refused: readonly [paths: string[], message: string][] = [
    [[], "x: has no .json, .jsonl, .parquet or .txt file; name one file, as in source=x/FILE"],
    [
      ["a.json", "b.json"],
      "x: has 2 data files and none is named train, val or test; name one file, as in source=x/FILE",
    ],
    [
      ["test.json", "test.txt"],
      "x: test is there several times (test.json, test.txt); name a folder below it, as in source=x/FOLDER",
    ],
    [
      ["main/test.json", "socratic/test.json"],
      "x: test is there several times (main/test.json, socratic/test.json); " +
      "name a folder below it, as in source=x/FOLDER",
    ],
  ];
  for (const [paths, message] of refused) {
    assert.throws(() => filesBySplit(paths, "x"), { name: "RangeError", message });
  }
});
