import assert from "node:assert/strict";
import { loadModel, readModelConfig } from "../../io/load_model.ts";
import { gpuTest } from "../check_op.ts";

const golden = (name: string) => new URL(`../golden/${name}`, import.meta.url).pathname;

gpuTest("loadModel(): config.json decides the architecture", async (gpu) => {
  const names = { gpt2: "Gpt2", qwen2_bias: "Llama", llama_untied_bf16: "Llama" };
  for (const [folder, type] of Object.entries(names)) {
    const model = await loadModel(gpu, golden(folder));
    assert.equal(model.constructor.name, type);
    assert.equal(model.head.shape[1], model.hiddenSize);
  }
});

gpuTest("loadModel(): bf16 stays bf16 unless it is to be trained", async (gpu) => {
  const stored = await loadModel(gpu, golden("llama_untied_bf16"));
  assert.equal(stored.embeddings.dtype, "bf16");
  const wide = await loadModel(gpu, golden("llama_untied_bf16"), "f32");
  assert.equal(wide.embeddings.dtype, "f32");
  assert.ok(stored.weights.byteLength < 0.6 * wide.weights.byteLength);
});

Deno.test("readModelConfig() names the file that is missing or broken", async () => {
  await assert.rejects(
    readModelConfig("nowhere"),
    /nowhere\/config\.json: cannot be read; a model/,
  );
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/config.json`, "{");
    await assert.rejects(readModelConfig(folder), /config\.json: not valid JSON/);
    await Deno.writeTextFile(`${folder}/config.json`, '{"model_type":"mamba"}');
    await assert.rejects(
      readModelConfig(folder),
      /"mamba" is not supported; supported are gpt2, ll/,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
