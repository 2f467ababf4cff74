/** Where rows are found, and which sets can be trained on. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { arithRows } from "../../data/arith.ts";
import { checkTrainingRows, loadData, pinData } from "../../training/load_data.ts";
import { COMMIT, hubTest } from "../io/hub_server.ts";
import { fakeConfig } from "./fake_method.ts";

async function data(workspace: string, ...overrides: string[]) {
  return await loadData(await fakeConfig("n_train=50", ...overrides), workspace);
}

Deno.test("loadData: arith and its variants are generated, tiny_dataset cuts them", async () => {
  const { train, val, test } = await data(".", "n_val=4", "n_test=5");
  assert.deepEqual([train.length, val.length, test.length], [50, 4, 5]);
  const hard = await data(".", "dataset_name=arith_hard", "n_val=4", "n_test=5");
  assert.deepEqual(hard.test, arithRows({ split: "test", count: 5, variant: "hard" }));
  const tiny = await data(".", "tiny_dataset=True", "n_val=40", "n_test=5");
  assert.deepEqual([tiny.train.length, tiny.val.length, tiny.test.length], [32, 32, 5]);
  assert.deepEqual(tiny.train, train.slice(0, 32));
});

Deno.test("loadData: a folder as given, or below datasets of the workspace", async () => {
  const workspace = await Deno.makeTempDir();
  try {
    const folder = join(workspace, "datasets", "mine");
    await Deno.mkdir(folder, { recursive: true });
    for (const split of ["train", "val", "test"]) {
      const rows = [{ question: split, steps: [], answer: "1" }];
      await Deno.writeTextFile(join(folder, `${split}.json`), JSON.stringify(rows));
    }
    for (const name of ["mine", folder]) {
      const { test } = await data(workspace, `dataset_name=${name}`);
      assert.deepEqual(test, [{ question: "test", steps: [], answer: "1" }]);
    }
  } finally {
    await Deno.remove(workspace, { recursive: true });
  }
  await assert.rejects(data(".", "dataset_name=nodata"), {
    name: "TypeError",
    message:
      "nodata: no such folder; a data set is 'arith' or a folder with train.json, val.json and test.json",
  });
});

Deno.test("loadData: a source on the disk, else the folder of the name, else the Hub; its lines say which", async () => {
  const workspace = await Deno.makeTempDir();
  try {
    const row = (question: string) => JSON.stringify({ question, steps: [""], answer: "1" });
    const named = join(workspace, "datasets", "svamp");
    await Deno.mkdir(named, { recursive: true });
    for (const split of ["train", "val", "test"]) {
      await Deno.writeTextFile(join(named, `${split}.json`), `[${row("named")}]`);
    }
    const file = join(workspace, "mine.jsonl");
    await Deno.writeTextFile(file, `${row("a")}\n${row("b")}\n`);
    const svamp = ["dataset_name=svamp", "test_split=all"];
    const fromFile = await data(workspace, ...svamp, `source=${file}`);
    assert.deepEqual(fromFile.test.map(({ question }) => question), ["a", "b"]);
    assert.equal(
      fromFile.lines[0],
      `svamp: 0 train, 0 val, 2 test rows (test_split=all) of ${file}`,
    );
    const fromName = await data(workspace, ...svamp, "source=ChilleD/SVAMP");
    assert.deepEqual([fromName.test[0].question, fromName.lines], ["named", []]);
    const few = await data(workspace, ...svamp, `source=${file}`, "n_val=9", "n_test=1");
    assert.deepEqual(few.test, fromFile.test.slice(0, 1));
    assert.deepEqual(few.lines, [...fromFile.lines, "  of these the first 1 test"]);
    const tiny = await data(workspace, ...svamp, `source=${file}`, "tiny_dataset=True");
    assert.deepEqual([tiny.test.length, tiny.lines], [2, fromFile.lines]);
    await assert.rejects(data(workspace, "dataset_name=./gone", "source=ChilleD/SVAMP"), {
      message: /^\.\/gone: no such folder; /,
    });
    const config = await fakeConfig(...svamp);
    assert.throws(() => checkTrainingRows(fromFile, config), {
      name: "RangeError",
      message: "svamp has no row to train on with test_split=all; train on another set, as with " +
        "--dataset=gsm8k_aug, and test on it with ./denow task test --ckpt=... --dataset=svamp",
    });
    checkTrainingRows(fromName, config);
  } finally {
    await Deno.remove(workspace, { recursive: true });
  }
});

Deno.test("loadData: gsm8k_steps, question_text and boxed_answer decide how rows are read", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const records = {
      "gsm8k.jsonl": {
        question: "Two pens and 3 pens?",
        answer: "He has 2+3=<<2+3=5>>5 pens.\nThat is all.\n#### 5",
      },
      "svamp.jsonl": { Body: "Tom has 2 pens.", Question: "How many?", Equation: "2", Answer: 2 },
      "math.jsonl": { problem: "Half?", solution: "It is $\\boxed{\\frac{1}{2}}$, or ${0.5}$." },
    };
    for (const [name, record] of Object.entries(records)) {
      await Deno.writeTextFile(join(folder, name), JSON.stringify(record));
    }
    const first = async (set: string, ...overrides: string[]) => {
      const source = `source=${join(folder, `${set}.jsonl`)}`;
      const asked = ["dataset_name=mine", source, "test_split=all", ...overrides];
      return (await data(folder, ...asked)).test[0];
    };
    const sentences = ["He has 2+3=<<2+3=5>>5 pens.", "That is all."];
    const doubled = "Tom has 2 pens.. How many?";
    const tooMuch = "\\frac{1}{2}}$, or ${0.5";
    // By the keys themselves, and by the profile that sets them.
    const released = "profile=released";
    for (const how of ["gsm8k_steps=sentences", released]) {
      assert.deepEqual((await first("gsm8k", how)).steps, sentences, how);
    }
    for (const how of ["gsm8k_steps=equations", "profile=corrected"]) {
      assert.deepEqual((await first("gsm8k", how)).steps, ["<<2+3=5>>"], how);
    }
    for (const how of ["question_text=as-released", released]) {
      assert.equal((await first("svamp", how)).question, doubled, how);
    }
    for (const how of ["question_text=tidy", "profile=corrected"]) {
      assert.equal((await first("svamp", how)).question, "Tom has 2 pens. How many?", how);
    }
    for (const how of ["boxed_answer=as-released", released]) {
      assert.equal((await first("math", how)).answer, tooMuch, how);
    }
    for (const how of ["boxed_answer=balanced", "profile=corrected"]) {
      assert.equal((await first("math", how)).answer, "\\frac{1}{2}", how);
    }
    const mixed = await first("gsm8k", released, "gsm8k_steps=equations");
    assert.deepEqual(mixed.steps, ["<<2+3=5>>"], "a key of its own goes before the profile");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

hubTest(
  "pinData: a set of the Hub is fetched, and the run keeps its commit",
  async (hub, cache) => {
    const line = JSON.stringify({ Body: "b.", Question: "q?", Equation: "1", Answer: 1 });
    const bytes = new TextEncoder().encode(line);
    hub.repos.set("datasets/ChilleD/SVAMP", {
      commit: COMMIT,
      files: new Map([["train.json", bytes], ["test.json", bytes]]),
    });
    const config = await fakeConfig("dataset_name=svamp", "source=ChilleD/SVAMP", "test_split=all");
    const dataset = await loadData(config, "/nowhere", hub.options(cache));
    assert.deepEqual([dataset.train.length, dataset.test.length], [0, 2]);
    const pinned = await pinData(config, dataset);
    assert.equal(pinned.data_module.source, `ChilleD/SVAMP@${COMMIT}`);
    hub.taken();
    assert.deepEqual(await loadData(pinned, "/nowhere", hub.options(cache)), dataset);
    assert.deepEqual(hub.taken(), []);
    const generated = await fakeConfig("n_train=3", "n_val=1", "n_test=1");
    assert.equal(await pinData(generated, await loadData(generated, ".")), generated);
  },
);
