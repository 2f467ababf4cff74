/** Adapters that PEFT 0.13.2 saved: read, written again to the byte, and what is refused by its key. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { checkpointName, peftName, readAdapter, writeAdapter } from "../../io/peft.ts";
import { readModelConfig } from "../../io/load_model.ts";
import { type TensorData, writeSafetensors } from "../../io/safetensors.ts";

const GOLDEN = new URL("../golden/", import.meta.url).pathname;
const MODELS = ["gpt2", "llama_gqa_tied_llama3rope", "llama_untied_bf16", "qwen2_bias"];

async function inFolder(work: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const name of MODELS) {
  Deno.test(`PEFT's adapter of ${name}: read and written, bytes and keys are the same`, async () => {
    const source = join(GOLDEN, name, "adapter");
    const { config, tensors } = await readAdapter(source);
    assert.deepEqual([config.r, config.lora_alpha, config.use_rslora], [4, 3, false]);
    const { model_type } = await readModelConfig(join(GOLDEN, name));
    await inFolder(async (folder) => {
      await writeAdapter(folder, config, { model_id: "", model_type }, tensors);
      const file = "adapter_model.safetensors";
      assert.deepEqual(
        await Deno.readFile(join(folder, file)),
        await Deno.readFile(join(source, file)),
      );
      const [ours, theirs] = await Promise.all(
        [folder, source].map(async (at) =>
          JSON.parse(await Deno.readTextFile(join(at, "adapter_config.json")))
        ),
      );
      assert.deepEqual(ours, { ...theirs, target_modules: theirs.target_modules.sort() });
      assert.deepEqual(Object.keys(ours), Object.keys(theirs), "the order of keys");
    });
  });
}

Deno.test("writeAdapter(): a model of the Hub by name and commit apart, as Python's tools take it", async () => {
  const { config, tensors } = await readAdapter(join(GOLDEN, "gpt2/adapter"));
  await inFolder(async (folder) => {
    const commit = "0123456789abcdef0123456789abcdef01234567";
    const base = { model_id: "owner/name", commit, model_type: "gpt2" } as const;
    await writeAdapter(folder, config, base, tensors);
    const json = JSON.parse(await Deno.readTextFile(join(folder, "adapter_config.json")));
    assert.deepEqual([json.base_model_name_or_path, json.revision], ["owner/name", commit]);
    assert.equal((await readAdapter(folder)).baseModel, "owner/name");
  });
});

Deno.test("peftName() and checkpointName(): PEFT's names are ours without llm. and the adapter's name", () => {
  const own = "llm.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight";
  const theirs = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  assert.equal(peftName(own), theirs);
  assert.equal(checkpointName(theirs), own);
  assert.equal(peftName("latent_policy.fc.0.weight"), undefined);
  assert.equal(peftName("llm.model.norm.weight"), undefined);
});

const LAYER = "base_model.model.model.layers.1.mlp.up_proj";
const f32 = (...shape: number[]): TensorData => ({
  dtype: "F32",
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
});
const PAIR = { [`${LAYER}.lora_A.weight`]: f32(2, 6), [`${LAYER}.lora_B.weight`]: f32(5, 2) };
const PLAIN = { peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["up_proj"] };

async function adapter(folder: string, config: object, tensors: Record<string, TensorData> = PAIR) {
  await Deno.writeTextFile(join(folder, "adapter_config.json"), JSON.stringify(config));
  await writeSafetensors(
    join(folder, "adapter_model.safetensors"),
    new Map(Object.entries(tensors)),
  );
}

Deno.test("readAdapter(): keys of newer versions that are empty, patterns, a pattern as target", async () => {
  await inFolder(async (folder) => {
    const more = { // of PEFT 0.21.2
      ...{ use_qalora: false, qalora_group_size: 16, trainable_token_indices: null },
      ...{ arrow_config: null, lora_bias: false, peft_version: "0.21.2", exclude_modules: null },
      ...{ ensure_weight_tying: false, target_parameters: null, use_bdlora: null },
    };
    const sizes = {
      use_rslora: true,
      rank_pattern: { up_proj: 2 },
      r: 8,
      alpha_pattern: { "1\\.mlp.*": 3 },
      lora_dropout: 0.25,
    };
    await adapter(folder, { ...PLAIN, ...more, ...sizes, target_modules: ".*\\.mlp\\.up_proj" });
    const { config } = await readAdapter(folder);
    assert.deepEqual(config, {
      r: 8,
      lora_alpha: 4,
      target_modules: ["model.layers.1.mlp.up_proj"],
      use_rslora: true,
      rank_pattern: { up_proj: 2 },
      alpha_pattern: { "1\\.mlp.*": 3 },
      lora_dropout: 0.25,
    });
    await adapter(folder, { ...PLAIN, target_modules: "all-linear" });
    assert.equal((await readAdapter(folder)).config.target_modules, "all-linear");
  });
});

const refused: [string, object, RegExp, Record<string, TensorData>?][] = [
  [
    "a dropout of everything",
    { lora_dropout: 1 },
    /lora_dropout is 1; it must be a number at least 0 and below 1$/,
  ],
  [
    "DoRA",
    { use_dora: true },
    /use_dora is true; DoRA is not supported; merge it with PEFT first$/,
  ],
  ["another method", { peft_type: "IA3" }, /peft_type is "IA3"; only LORA is supported/],
  ["trained biases", { bias: "all" }, /bias is "all"; only none is supported/],
  [
    "trained modules",
    { modules_to_save: ["lm_head"] },
    /modules_to_save is \["lm_head"\]; it is not/,
  ],
  [
    "some layers",
    { layers_to_transform: [1] },
    /layers_to_transform is \[1\]; it is not supported/,
  ],
  ["copied layers", { layer_replication: [[0, 4]] }, /layer_replication is \[\[0,4\]\]; it is not/],
  ["LoftQ", { loftq_config: { bits: 4 } }, /loftq_config is \{"bits":4\}; it is not supported/],
  ["PiSSA", { init_lora_weights: "pissa" }, /init_lora_weights is "pissa"; it changes the base/],
  ["a bias of the update", { lora_bias: true }, /lora_bias is true; it is not supported/],
  ["what comes later", { use_new_thing: 1 }, /use_new_thing is 1; it is not supported; merge it/],
  ["no rank", { r: "x" }, /r is "x"; it must be a number above 0/],
  ["no targets", { target_modules: null }, /target_modules is null; it must be names/],
  ["another rank", { r: 3 }, /up_proj: lora_A and lora_B are \[2, 6\] and \[5, 2\]; rank is 3/],
  [
    "half a module",
    {},
    /up_proj: lora_A and lora_B are \[2, 6\] and nothing; rank is 2/,
    { [`${LAYER}.lora_A.weight`]: f32(2, 6) },
  ],
  [
    "embeddings",
    {},
    /tensor "base_model\.model\.model\.embed_tokens\.lora_embedding_A"; only lora_A and lora_B of/,
    { "base_model.model.model.embed_tokens.lora_embedding_A": f32(2, 6) },
  ],
  ["no tensors", {}, /holds no tensors; name an adapter that was trained/, {}],
];
for (const [what, change, message, tensors] of refused) {
  Deno.test(`readAdapter() refuses ${what}`, async () => {
    await inFolder(async (folder) => {
      await adapter(folder, { ...PLAIN, ...change }, tensors);
      await assert.rejects(readAdapter(folder), (error: Error) => {
        assert.ok(error.message.startsWith(folder), error.message);
        assert.ok(["RangeError", "SyntaxError"].includes(error.name), error.name);
        assert.match(error.message, message);
        return true;
      });
    });
  });
}

Deno.test("readAdapter() says what a folder lacks", async () => {
  await inFolder(async (folder) => {
    await assert.rejects(
      readAdapter(folder),
      /has no adapter_config\.json; an adapter's folder is/,
    );
    await Deno.writeTextFile(join(folder, "adapter_config.json"), "{");
    await Deno.writeTextFile(join(folder, "adapter_model.bin"), "");
    await assert.rejects(
      readAdapter(folder),
      /adapter_model\.bin: save it with safe_serialization/,
    );
    await adapter(folder, PLAIN);
    await Deno.writeTextFile(join(folder, "adapter_config.json"), "{");
    await assert.rejects(readAdapter(folder), /adapter_config\.json: not JSON/);
  });
});
