/** Models written in Hub layout: what is loaded again is the same, in one file or in shards; the tokenizer has [PAD]. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { loadModel, readModelJson } from "../../io/load_model.ts";
import { newFolder, saveModel, saveTensors, saveTokenizer } from "../../io/save_model.ts";
import { loadSafetensors, openCheckpoint } from "../../io/safetensors.ts";
import { loadTokenizer } from "../../io/tokenizer.ts";
import { gpuTest } from "../check_op.ts";

const golden = (name: string) => new URL(`../golden/${name}`, import.meta.url).pathname;
const NANO = new URL("../../assets/nano", import.meta.url).pathname;

async function inFolder(work: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Every tensor of a folder by name: type and bytes. */
async function contents(folder: string) {
  using file = await openCheckpoint(folder);
  const found: Record<string, [string, readonly number[], Uint8Array]> = {};
  for (const { name, dtype, shape } of file.tensors.values()) {
    found[name] = [dtype, shape, await file.read(name)];
  }
  return found;
}

for (const [name, prefix] of [["gpt2", "transformer."], ["llama_untied_bf16", ""]]) {
  for (const shardBytes of [undefined, 4096]) {
    const where = shardBytes ? `shards of ${shardBytes} bytes` : "one file";
    gpuTest(`saveModel(): ${name} in ${where} is what was loaded`, async (gpu) => {
      await inFolder(async (folder) => {
        const model = await loadModel(gpu, golden(name));
        await saveModel(folder, await readModelJson(golden(name)), model.weights, shardBytes);
        const files = [...Deno.readDirSync(folder)].map(({ name }) => name);
        const isIndexed = files.includes("model.safetensors.index.json");
        assert.equal(isIndexed, shardBytes !== undefined);
        if (isIndexed) {
          const shards = files.filter((file) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(file));
          assert.ok(shards.length > 3 && !files.includes("model.safetensors"));
        }
        const before = await contents(golden(name));
        // GPT-2's files have the causal mask too, which is no weight.
        for (const key of Object.keys(before)) if (/\.attn\.bias$/.test(key)) delete before[key];
        const after = await contents(folder);
        assert.deepEqual(
          Object.keys(after).sort(),
          Object.keys(before).map((key) => key.replace(prefix, "")).sort(),
        );
        for (const [key, value] of Object.entries(before)) {
          const [dtype] = after[key.replace(prefix, "")];
          // Norms are computed in float32, and so written.
          if (dtype === value[0]) assert.deepEqual(after[key.replace(prefix, "")], value, key);
          else assert.deepEqual([dtype, value[0], value[1].length], ["F32", "BF16", 1], key);
        }
        const again = await loadModel(gpu, folder);
        assert.deepEqual([...again.weights.entries.keys()], [...model.weights.entries.keys()]);
      });
    });
  }
}

Deno.test("saveTokenizer(): the same tokens, and [PAD] as the one that fills rows", async () => {
  await inFolder(async (folder) => {
    const before = await loadTokenizer(NANO);
    await saveTokenizer(NANO, folder, before);
    const after = await loadTokenizer(folder);
    assert.deepEqual([after.padId, after.size], [before.padId, before.size]);
    assert.equal(after.padRow(before.size), "existing");
    const text = "Question: 2 + 3?###<<2+3=5>>###Answer:5";
    assert.deepEqual(after.encode(text), before.encode(text));
    assert.deepEqual(after.encode("[PAD]"), [before.padId]);
    const config = JSON.parse(await Deno.readTextFile(join(folder, "tokenizer_config.json")));
    assert.equal(config.pad_token, "[PAD]");
    assert.equal(config.added_tokens_decoder[before.padId].content, "[PAD]");
    const template = join(folder, "chat_template.jinja");
    await Deno.writeTextFile(template, "{{ messages }}");
    await Deno.mkdir(join(folder, "again"));
    await saveTokenizer(folder, join(folder, "again"), after);
    assert.equal(
      await Deno.readTextFile(join(folder, "again/chat_template.jinja")),
      "{{ messages }}",
    );
    await saveTokenizer(folder, folder, after);
    assert.equal((await loadTokenizer(folder)).size, before.size);
  });
});

Deno.test("newFolder(): whole or not at all, and never over another", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "a/b");
    const tensors = new Map([["x", { shape: [2], data: Float32Array.of(1, 2) }]]);
    await assert.rejects(
      newFolder(path, async (inside) => {
        await saveTensors(join(inside, "x.safetensors"), tensors);
        throw new Error("stopped");
      }),
      /stopped/,
    );
    assert.deepEqual([...Deno.readDirSync(join(folder, "a"))], []);
    await newFolder(path, (inside) => saveTensors(join(inside, "x.safetensors"), tensors));
    const { data } = (await loadSafetensors(join(path, "x.safetensors"))).get("x")!;
    assert.deepEqual([...data], [1, 2]);
    await assert.rejects(newFolder(path, async () => {}), {
      name: "RangeError",
      message: `"${path}" is there already; name a new folder with --out`,
    });
  });
});
