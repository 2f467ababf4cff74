import assert from "node:assert/strict";
import { loadModel } from "../../io/load_model.ts";
import { LoraAdapter } from "../../llm/lora.ts";
import { gpuTest } from "../check_op.ts";

const folder = (name: string) => new URL(`../golden/${name}`, import.meta.url).pathname;

gpuTest("LoraAdapter: PEFT's default targets, names, shapes and initial values", async (gpu) => {
  const model = await loadModel(gpu, folder("llama_gqa_tied_llama3rope"));
  using adapter = new LoraAdapter(gpu, model, { r: 4, lora_alpha: 3 }, 7);
  assert.equal(adapter.get("model.layers.2.self_attn.v_proj")!.scale, 0.75);
  assert.equal(adapter.parameters.size, 3 * 2 * 2);
  const name = "base_model.model.model.layers.2.self_attn.v_proj.lora_B.weight";
  assert.deepEqual(adapter.parameters.get(name)!.shape, [16, 4]);
  const b = await gpu.read(adapter.parameters.get(name)!);
  assert.ok(b.every((x) => x === 0));
  const a = await gpu.read(adapter.parameters.get(name.replace("lora_B", "lora_A"))!);
  const bound = 1 / Math.sqrt(48);
  assert.ok(a.every((x) => Math.abs(x) <= bound));
  const variance = a.reduce((sum, x) => sum + x * x, 0) / a.length;
  assert.ok(Math.abs(variance / (bound * bound / 3) - 1) < 0.3, `variance ${variance}`);
  using same = new LoraAdapter(gpu, model, { r: 4, lora_alpha: 3 }, 7);
  const again = await gpu.read(same.parameters.get(name.replace("lora_B", "lora_A"))!);
  assert.deepEqual(again, a);
});

gpuTest("LoraAdapter: GPT-2's c_attn, and targets by name", async (gpu) => {
  const model = await loadModel(gpu, folder("gpt2"));
  using defaults = new LoraAdapter(gpu, model, { r: 2, lora_alpha: 2 });
  assert.deepEqual(defaults.modules, [0, 1, 2].map((i) => `transformer.h.${i}.attn.c_attn`));
  using both = new LoraAdapter(gpu, model, { r: 2, lora_alpha: 2, target_modules: ["c_proj"] });
  assert.equal(both.modules.length, 6); // attention's and the MLP's
  using all = new LoraAdapter(gpu, model, { r: 2, lora_alpha: 2, target_modules: "all-linear" });
  assert.deepEqual(all.modules, model.linearModules.map(({ name }) => name));
  assert.equal(all.modules.length, 3 * 4); // c_attn, c_proj, c_fc, c_proj
});

gpuTest(
  "LoraAdapter: patterns of rank and alpha, rsLoRA, and targets by longer ends",
  async (gpu) => {
    const model = await loadModel(gpu, folder("gpt2"));
    using adapter = new LoraAdapter(gpu, model, {
      r: 4,
      lora_alpha: 6,
      use_rslora: true,
      target_modules: ["mlp.c_proj", "c_attn"],
      rank_pattern: { "c_attn": 9, "h.1.mlp.c_proj": 1 },
      alpha_pattern: { "h\\.[01]\\.attn.*": 12 },
    });
    const sizes = adapter.modules.map((name) => {
      const { a, b, scale } = adapter.get(name)!;
      assert.equal(a.shape[0], b.shape[1]);
      return [name, a.shape[0], scale];
    });
    assert.deepEqual(sizes, [
      ["transformer.h.0.attn.c_attn", 9, 4],
      ["transformer.h.0.mlp.c_proj", 4, 3],
      ["transformer.h.1.attn.c_attn", 9, 4],
      ["transformer.h.1.mlp.c_proj", 1, 6],
      ["transformer.h.2.attn.c_attn", 9, 2],
      ["transformer.h.2.mlp.c_proj", 4, 3],
    ]);
    const half = { r: 2, lora_alpha: 1, rank_pattern: { c_attn: 1.5 } };
    const message = /must be a whole number >= 1, got 1.5 for transformer\.h\.0\.attn\.c_attn/;
    assert.throws(() => new LoraAdapter(gpu, model, half), message);
  },
);

gpuTest(
  "LoraAdapter refuses unknown targets, impossible ranks and unknown parameters",
  async (gpu) => {
    const model = await loadModel(gpu, folder("gpt2"));
    assert.throws(
      () => new LoraAdapter(gpu, model, { r: 2, lora_alpha: 2, target_modules: ["q_proj"] }),
      /lora target 'q_proj' is no module of the model; it has: c_attn, c_proj, c_fc/,
    );
    assert.throws(
      () => new LoraAdapter(gpu, model, { r: 0, lora_alpha: 1 }),
      /lora r must be a whole/,
    );
    using adapter = new LoraAdapter(gpu, model, { r: 2, lora_alpha: 2 });
    assert.throws(
      () => adapter.write("x", new Float32Array(1)),
      /the adapter has no parameter 'x'/,
    );
  },
);
