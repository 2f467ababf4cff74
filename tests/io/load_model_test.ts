import assert from "node:assert/strict";
import { loadModel, readModelConfig } from "../../io/load_model.ts";
import { float32ToFloat16 } from "../../io/float16.ts";
import { loadSafetensors, type TensorData, writeSafetensors } from "../../io/safetensors.ts";
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

/** A copy of a golden model with its tensors changed, whole or in shards. */
async function inCopy(
  name: string,
  change: (name: string, tensor: TensorData) => [string, TensorData][],
  numShards: number,
  work: (folder: string) => Promise<void>,
) {
  const folder = await Deno.makeTempDir();
  try {
    const tensors: [string, TensorData][] = [];
    for (
      const [key, { shape, data }] of await loadSafetensors(`${golden(name)}/model.safetensors`)
    ) {
      if (data instanceof Float32Array) tensors.push(...change(key, { dtype: "F32", shape, data }));
    }
    const weight_map: Record<string, string> = {};
    for (let i = 0; i < numShards; i++) {
      const own = tensors.filter((_, j) => j % numShards === i);
      const file = numShards === 1 ? "model.safetensors" : `part-${i}.safetensors`;
      await writeSafetensors(`${folder}/${file}`, new Map(own));
      for (const [key] of own) weight_map[key] = file;
    }
    if (numShards > 1) {
      const index = JSON.stringify({ metadata: {}, weight_map });
      await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, index);
    }
    await Deno.copyFile(`${golden(name)}/config.json`, `${folder}/config.json`);
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const keep = (name: string, tensor: TensorData): [string, TensorData][] => [[name, tensor]];

gpuTest(
  "loadModel(): shards, F16, and GPT-2's names with and without transformer.",
  async (gpu) => {
    const plain = (name: string, tensor: TensorData): [string, TensorData][] => [
      [name.replace("transformer.", ""), tensor],
    ];
    const whole = await loadModel(gpu, golden("gpt2"));
    for (const [change, numShards] of [[plain, 1], [keep, 3], [plain, 2]] as const) {
      await inCopy("gpt2", change, numShards, async (folder) => {
        const model = await loadModel(gpu, folder);
        assert.deepEqual([...model.weights.entries.keys()], [...whole.weights.entries.keys()]);
        for (const name of model.weights.entries.keys()) {
          assert.deepEqual(await model.weights.read(name), await whole.weights.read(name), name);
        }
      });
    }
    const half = (name: string, { shape, data }: TensorData): [string, TensorData][] => [
      [name, { dtype: "F16", shape, data: float32ToFloat16(data as Float32Array) }],
    ];
    await inCopy("llama_gqa_tied_llama3rope", half, 1, async (folder) => {
      const model = await loadModel(gpu, folder);
      const exact = await loadModel(gpu, golden("llama_gqa_tied_llama3rope"));
      for (const [name, { shape }] of model.weights.entries) {
        const numbers = new Float16Array(await exact.weights.read(name));
        const expected = shape.length === 2 ? numbers : new Float32Array(numbers);
        assert.deepEqual(await model.weights.readStored(name), expected, name);
      }
    });
  },
);

gpuTest(
  "loadModel(): everything that is wrong with the shards is told before an upload",
  async (gpu) => {
    const broken = (name: string, tensor: TensorData): [string, TensorData][] => {
      if (name === "model.norm.weight") return [];
      if (!name.endsWith("layers.1.self_attn.k_proj.weight")) return [[name, tensor]];
      return [[name, { ...tensor, shape: tensor.shape.toReversed() }], ["extra", tensor]];
    };
    await inCopy("llama_gqa_tied_llama3rope", broken, 2, async (folder) => {
      const before = gpu.pool.memory.inUse;
      await assert.rejects(loadModel(gpu, folder), (error: Error) => {
        assert.equal(error.name, "TypeError");
        assert.match(error.message, /missing model\.norm\.weight \[48\]/);
        assert.match(
          error.message,
          /layers\.1\.self_attn\.k_proj\.weight is \[48, \d+\], config\.json asks/,
        );
        assert.match(error.message, /unexpected extra/);
        return true;
      });
      assert.equal(gpu.pool.memory.inUse, before);
    });
  },
);

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
