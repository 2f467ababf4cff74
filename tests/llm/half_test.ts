/** Models of 16-bit files: computed with as stored, equal to their widened twins, and written as they were read. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import { loadModel, readModelJson } from "../../io/load_model.ts";
import { saveModel } from "../../io/save_model.ts";
import { loadSafetensors, openCheckpoint, writeSafetensors } from "../../io/safetensors.ts";
import type { Backbone } from "../../llm/backbone.ts";
import { LoraAdapter, mergeAdapter } from "../../llm/lora.ts";
import { packRows } from "../../llm/tokens.ts";
import { crossEntropy, logits } from "../../ops/cross_entropy.ts";
import { embedding } from "../../ops/embedding.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { narrowed } from "../narrowed.ts";
import { normals } from "../random.ts";

const MODELS = ["gpt2", "llama_gqa_tied_llama3rope"];
const TYPES = { BF16: "bf16", F16: "f16" } as const;
const IDS = Uint32Array.of(5, 17, 30, 42, 9, 11, 3);
const LABELS = Uint32Array.of(17, 30, 42, 9, 11, 3, 5);

/** A golden model saved in 16 bits, all but GPT-2's masks. */
async function inHalf(
  name: string,
  dtype: keyof typeof TYPES,
  work: (folder: string) => Promise<void>,
): Promise<void> {
  const golden = new URL(`../golden/${name}`, import.meta.url).pathname;
  const folder = await Deno.makeTempDir();
  try {
    const tensors = await loadSafetensors(join(golden, "model.safetensors"));
    const halves = [...tensors].flatMap(([key, { shape, data }]) => {
      if (!(data instanceof Float32Array)) return [];
      const { buffer } = narrowed(data, TYPES[dtype]).data;
      return [[key, { dtype, shape, data: new Uint16Array(buffer as ArrayBuffer) }]] as const;
    });
    await writeSafetensors(join(folder, "model.safetensors"), new Map(halves));
    await Deno.copyFile(join(golden, "config.json"), join(folder, "config.json"));
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function logitsOf(gpu: Gpu, model: Backbone): Promise<Float32Array> {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const tokens = packRows(scope, [{ length: IDS.length }]);
  const { hidden } = model.forward(g, embedding(g, model.embeddings, IDS), tokens);
  const [vocab] = model.head.shape;
  const numbers = await gpu.read(logits(g, hidden, model.head));
  return numbers.filter((_, i) => i % (numbers.length / IDS.length) < vocab);
}

/** An adapter on every linear map, whose B is not zero. */
function adapterOn(gpu: Gpu, model: Backbone): LoraAdapter {
  const config = { r: 4, lora_alpha: 6, target_modules: "all-linear" } as const;
  const adapter = new LoraAdapter(gpu, model, config, 3);
  for (const [i, [name, tensor]] of [...adapter.parameters].entries()) {
    if (name.includes("lora_B")) adapter.write(name, normals(i, tensor.size, 0.1));
  }
  model.adapter = adapter;
  return adapter;
}

/** A training step's loss and every gradient of the adapter. */
async function step(gpu: Gpu, model: Backbone, { parameters }: LoraAdapter) {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const tokens = packRows(scope, [{ length: IDS.length }]);
  const { hidden } = model.forward(g, embedding(g, model.embeddings, IDS), tokens);
  const loss = crossEntropy(g, hidden, model.head, LABELS);
  g.backward([loss]);
  const found: [string, Float32Array][] = [["loss", await gpu.read(loss)]];
  for (const [name, { gradient }] of parameters) found.push([name, await gpu.read(gradient!)]);
  return found;
}

for (const name of MODELS) {
  for (const dtype of ["BF16", "F16"] as const) {
    gpuTest(`${name} in ${dtype}: logits and gradients of the widened model`, async (gpu) => {
      await inHalf(name, dtype, async (folder) => {
        const [stored, wide] = [await loadModel(gpu, folder), await loadModel(gpu, folder, "f32")];
        assertClose(await logitsOf(gpu, stored), await logitsOf(gpu, wide), 1e-5, "logits");
        using mine = adapterOn(gpu, stored);
        using other = adapterOn(gpu, wide);
        const [found, expected] = [await step(gpu, stored, mine), await step(gpu, wide, other)];
        for (const [i, [key, numbers]] of expected.entries()) {
          assert.ok(numbers.some((x) => x !== 0), `${key} is zero`);
          assertClose(found[i][1], numbers, 1e-5, key);
        }
      });
    });

    gpuTest(`${name} in ${dtype}: matrices take half of the memory`, async (gpu) => {
      await inHalf(name, dtype, async (folder) => {
        const [stored, wide] = [await loadModel(gpu, folder), await loadModel(gpu, folder, "f32")];
        let [all, halves] = [0, 0];
        for (const [key, tensor] of wide.weights.entries) {
          const isMatrix = tensor.shape.length === 2;
          const kept = stored.weights.get(key);
          assert.deepEqual(kept.shape, tensor.shape, key);
          assert.equal(kept.dtype, isMatrix ? TYPES[dtype] : "f32", key);
          assert.equal(kept.byteLength, tensor.byteLength / (isMatrix ? 2 : 1), key);
          all += tensor.byteLength;
          if (isMatrix) halves += kept.byteLength;
        }
        assert.equal(stored.weights.byteLength, all - halves);
      });
    });

    gpuTest(`${name} in ${dtype}: what is merged is f32, the rest as it was`, async (gpu) => {
      await inHalf(name, dtype, async (folder) => {
        const model = await loadModel(gpu, folder);
        const isConv1d = name === "gpt2";
        using adapter = adapterOn(gpu, model);
        const changed = isConv1d ? /c_attn|c_proj|c_fc/ : /_proj/;
        const expected = await logitsOf(gpu, model);
        await mergeAdapter(model, adapter);
        const merged = join(folder, "merged");
        await saveModel(merged, await readModelJson(folder), model.weights);
        using before = await openCheckpoint(folder);
        using after = await openCheckpoint(merged);
        for (const { name: key, dtype: type, shape } of after.tensors.values()) {
          const old = before.tensors.has(key) ? key : `transformer.${key}`;
          assert.deepEqual(shape, before.tensors.get(old)!.shape, key);
          const isMerged = changed.test(key) && key.endsWith("weight");
          assert.equal(type, shape.length === 2 && !isMerged ? dtype : "F32", key);
          if (type !== "F32") assert.deepEqual(await after.read(key), await before.read(old), key);
          else if (isMerged) {
            assert.notDeepEqual(await after.readFloat32(key), await before.readFloat32(old), key);
          } else {
            assert.deepEqual(await after.readFloat32(key), await before.readFloat32(old), key);
          }
        }
        const again = await loadModel(gpu, merged);
        assertClose(await logitsOf(gpu, again), expected, 1e-5, "logits");
      });
    });

    gpuTest(`${name} in ${dtype}: saved and loaded, every matrix is to the bit`, async (gpu) => {
      await inHalf(name, dtype, async (folder) => {
        const model = await loadModel(gpu, folder);
        const copy = join(folder, "copy");
        await saveModel(copy, await readModelJson(folder), model.weights);
        using before = await openCheckpoint(folder);
        using after = await openCheckpoint(copy);
        for (const { name: key, dtype: type, shape } of after.tensors.values()) {
          const old = before.tensors.has(key) ? key : `transformer.${key}`;
          assert.equal(type, shape.length === 2 ? dtype : "F32", key);
          if (type === dtype) assert.deepEqual(await after.read(key), await before.read(old), key);
        }
      });
    });
  }
}
