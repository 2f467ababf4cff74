/** What `model.target` names: the project's methods and files of one's own; see also adding_a_model_test.ts. */
import assert from "node:assert/strict";
import {
  importModel,
  isBuiltIn,
  keysOfModel,
  refuseOwnCode,
  targetOf,
} from "../../io/config_model.ts";
import { SCHEMAS } from "../../io/config_schema.ts";
import { keysOf } from "../../io/config_tree.ts";

const OWN = "tests/models/own/pause.ts"; // found from the project's folder, wherever this runs

Deno.test("model.target: every method of the project is a file that makes one", async () => {
  for (const target of Object.keys(SCHEMAS)) {
    assert.ok(isBuiltIn(target));
    assert.equal(typeof (await importModel(target)).default, "function", target);
  }
  assert.ok(!isBuiltIn(OWN) && !isBuiltIn("constructor") && !isBuiltIn(undefined));
});

Deno.test("model.target: a file of one's own has the keys of every method and its own", async () => {
  const tree = { model: { target: OWN } };
  assert.equal(targetOf(tree), OWN);
  const keys = [...(await keysOfModel(tree, "own.yaml")).keys()];
  const shared = Object.values(SCHEMAS).map((schema) => [...keysOf(schema).keys()])
    .reduce((a, b) => a.filter((key) => b.includes(key)));
  assert.deepEqual(keys.filter((key) => !shared.includes(key)), [
    ...["model.start", "model.model_kwargs.pause_config.num_pauses"],
    "model.model_kwargs.pause_config.answer_weight",
  ]);
  assert.deepEqual(shared.filter((key) => !keys.includes(key)), []);
  assert.equal(typeof (await importModel(OWN)).default, "function");
});

Deno.test("model.target: what names no file is told", async () => {
  for (const target of ["models/colour.ts", "tests/models/own/pause.yaml", 3, undefined]) {
    await assert.rejects(keysOfModel({ model: { target } }, "own.yaml"), {
      name: "RangeError",
      message: /^own\.yaml: model\.target must be .*, or a file of your own that is there, got /,
    });
  }
  assert.deepEqual([targetOf(3), targetOf({ model: [] })], [undefined, undefined]);
  await assert.rejects(importModel("nowhere/mine.ts"), {
    name: "RangeError",
    message:
      "model.target: no file 'nowhere/mine.ts' in the current folder or the project's; run from " +
      "the folder in which it was named",
  });
});

Deno.test("model.target: code that came with a checkpoint is not run", async () => {
  const tree = { model: { target: OWN } };
  for (const checkpoint of ["tests/models", "tests/models/own", "tests/models/checkpoints/last"]) {
    await assert.rejects(refuseOwnCode(tree, checkpoint), {
      name: "RangeError",
      message: new RegExp(`^'${checkpoint}' names '${OWN}', a file that came with it`),
    });
  }
  await refuseOwnCode(tree, "logs/pause/arith/run/checkpoints/last");
  await refuseOwnCode({ model: { target: "models/cot.ts" } }, ".");
});
