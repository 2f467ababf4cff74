/** Where data and models are found. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { arithRows } from "../../data/arith.ts";
import { findModel, loadData } from "../../training/build.ts";
import { fakeConfig } from "./fake_method.ts";

const DATA = join(import.meta.dirname!, "../golden");

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

Deno.test("findModel: as given, from the project's root, or below models/llms", async () => {
  const root = join(import.meta.dirname!, "../../assets/nano");
  const found = await findModel("assets/nano", "/nowhere");
  assert.equal(await Deno.realPath(found), await Deno.realPath(root));
  assert.equal(await findModel(DATA, "."), DATA);
  const workspace = await Deno.makeTempDir();
  try {
    const folder = join(workspace, "models/llms/mine");
    await Deno.mkdir(folder, { recursive: true });
    assert.equal(await findModel("mine", workspace), folder);
  } finally {
    await Deno.remove(workspace, { recursive: true });
  }
  await assert.rejects(findModel("Llama-3.2-1B-Instruct", "w"), {
    name: "RangeError",
    message:
      "model_id: no folder 'Llama-3.2-1B-Instruct', nor w/models/llms/Llama-3.2-1B-Instruct; " +
      "download the model there in Hub layout (config.json, tokenizer.json, model.safetensors), " +
      "or set model_id=FOLDER",
  });
});
