/** Published files as checkpoints of ours: names, layouts, configuration. */
import assert from "node:assert/strict";
import { isFile, loadPublishedCheckpoint } from "../../io/published_checkpoint.ts";
import { stateDictPickle } from "./torch_pickle.ts";
import { zipOf } from "./zip_file.ts";

const LIGHTNING = new URL("torch/lightning.ckpt", import.meta.url).pathname;

Deno.test("loadPublishedCheckpoint(): floats under our names, the model's configuration", async () => {
  const { checkpoint, notRead } = await loadPublishedCheckpoint(LIGHTNING);
  assert.deepEqual(notRead, ["extra.count"]);
  assert.equal(checkpoint.tensors.size, 5);
  assert.ok([...checkpoint.tensors.values()].every(({ data }) => data instanceof Float32Array));
  assert.deepEqual(checkpoint.state, { epoch: 1, step: 2 });
  const { model } = checkpoint.config as { model: { target: string } };
  assert.equal(model.target, "src.models.cot.LitCoT");
});

Deno.test("loadPublishedCheckpoint(): GPT-2's own tensors, as they are named and computed with here", async () => {
  const path = await Deno.makeTempFile();
  try {
    const numbers = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);
    const cases = {
      "llm.transformer.h.0.mlp.c_fc.weight": ["llm.h.0.mlp.c_fc.weight", [3, 2], [
        1,
        4,
        2,
        5,
        3,
        6,
      ]],
      "llm.transformer.wpe.weight": ["llm.wpe.weight", [2, 3], [1, 2, 3, 4, 5, 6]],
      "llm.base_model.model.transformer.h.0.attn.c_attn.lora_A.default.weight": [
        "llm.base_model.model.transformer.h.0.attn.c_attn.lora_A.default.weight",
        [2, 3],
        [1, 2, 3, 4, 5, 6],
      ],
    };
    for (const [name, [own, shape, data]] of Object.entries(cases)) {
      const pickle = stateDictPickle({ name, numbers: 6, shape: [2, 3], strides: [3, 1] });
      await Deno.writeFile(path, zipOf({ "x/data.pkl": pickle, "x/data/0": numbers }));
      const { checkpoint: { tensors, config } } = await loadPublishedCheckpoint(path);
      const expected = { shape, data: Float32Array.from(data as number[]) };
      assert.deepEqual([...tensors], [[own, expected]]);
      assert.deepEqual(config, { model: {} });
    }
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("isFile(): a file, not a folder, not nothing", async () => {
  assert.deepEqual(
    [await isFile(LIGHTNING), await isFile(import.meta.dirname!), await isFile("nowhere")],
    [true, false, false],
  );
});
