/** Reading a data set folder: its three files, and one line about each thing that can be wrong with them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { readSplitFiles } from "../../io/dataset.ts";

Deno.test("dataset folder: three parsed files under their paths; what is missing or no JSON is named", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const split of ["train", "val", "test"]) {
      await Deno.writeTextFile(join(folder, `${split}.json`), `["${split}"]`);
    }
    const { train, val, test } = await readSplitFiles(folder);
    assert.deepEqual(train, { file: `${folder}/train.json`, json: ["train"] });
    assert.deepEqual([val.json, test.json], [["val"], ["test"]]);

    await Deno.writeTextFile(join(folder, "val.json"), '[\n{"question": ,\n}]');
    await assert.rejects(readSplitFiles(folder), (error: Error) => {
      assert.equal(error.name, "TypeError");
      assert.ok(error.message.startsWith(`${folder}/val.json: not valid JSON (`), error.message);
      assert.ok(!error.message.includes("\n"));
      return true;
    });

    await Deno.remove(join(folder, "val.json"));
    await assert.rejects(readSplitFiles(folder), {
      name: "TypeError",
      message: `${folder}/val.json: cannot be read; ` +
        "a data set folder has train.json, val.json and test.json",
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  await assert.rejects(readSplitFiles(folder), {
    name: "TypeError",
    message: `${folder}: no such folder; a data set is 'arith' or a folder with train.json, ` +
      "val.json and test.json",
  });
});
