/** What a tokenizer's folder says, where transformers 4.45.2 found the same EOS and `[PAD]` in the same files. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { saveTokenizer } from "../../io/save_model.ts";
import { loadTokenizer } from "../../io/tokenizer.ts";
import { readTokenizerFiles } from "../../io/tokenizer_files.ts";

const GPT2 = new URL("../golden/tokenizers/gpt2/tokenizer.json", import.meta.url);
const END = "<|endoftext|>";
const PLAIN = { tokenizer_class: "PreTrainedTokenizerFast" };
const NAMED = {
  content: END,
  lstrip: false,
  rstrip: false,
  normalized: false,
  single_word: false,
};

async function inFolder(
  files: Readonly<Record<string, unknown>>,
  check: (folder: string) => Promise<void>,
) {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.copyFile(GPT2, join(folder, "tokenizer.json"));
    for (const [name, value] of Object.entries(files)) {
      await Deno.writeTextFile(join(folder, name), JSON.stringify(value));
    }
    await check(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("tokenizer files: the class's EOS where no file names one, as GPT-2 is on the Hub", async () => {
  const folders: readonly Readonly<Record<string, unknown>>[] = [
    { "tokenizer_config.json": { model_max_length: 1024 }, "config.json": { model_type: "gpt2" } },
    {
      "tokenizer_config.json": { model_max_length: 1024 },
      "config.json": { model_type: "llama", tokenizer_class: "GPT2TokenizerFast" },
    },
    { "tokenizer_config.json": { tokenizer_class: "Qwen2Tokenizer" } },
  ];
  for (const files of folders) {
    await inFolder(files, async (folder) => {
      const tokenizer = await loadTokenizer(folder);
      assert.deepEqual([tokenizer.eosToken, tokenizer.eosId, tokenizer.padId], [END, 50256, 50257]);
      // `clean_up_tokenization_spaces` is off where it is not named.
      assert.equal(tokenizer.decode(tokenizer.encode("He does n't , or ?")), "He does n't , or ?");
    });
  }
});

Deno.test("tokenizer files: special_tokens_map.json has the last word, unless added_tokens_decoder is there", async () => {
  const map = { eos_token: NAMED, additional_special_tokens: [{ content: "<x>" }, "<y>"] };
  const config = { ...PLAIN, eos_token: "a", additional_special_tokens: ["<y>"] };
  const files = { "tokenizer_config.json": config, "special_tokens_map.json": map };
  await inFolder(files, async (folder) => {
    const tokenizer = await loadTokenizer(folder);
    assert.deepEqual([tokenizer.eosToken, tokenizer.eosId], [END, 50256]);
    assert.deepEqual(tokenizer.encode("<y><x>"), [50257, 50258]);
    assert.equal(tokenizer.padId, 50259);
    const copy = join(folder, "copy");
    await Deno.mkdir(copy);
    await saveTokenizer(folder, copy, tokenizer);
    const { config } = await readTokenizerFiles(copy);
    assert.equal((config as { eos_token: unknown }).eos_token, END, "transformers takes no object");
    const copied = await loadTokenizer(copy);
    assert.deepEqual([copied.eosToken, copied.padId], [END, 50259]);
    assert.deepEqual(copied.encode("<y><x>"), [50257, 50258]);
  });
  const decoder = { "50256": { ...NAMED, special: true } };
  const newer = { ...files, "tokenizer_config.json": { ...config, added_tokens_decoder: decoder } };
  await inFolder(newer, async (folder) => {
    assert.deepEqual((await loadTokenizer(folder)).eosToken, "a");
  });
});

Deno.test("tokenizer files: no EOS at all, null as one, and a broken special_tokens_map.json", async () => {
  const missing = "eos_token is missing; name the token that ends a text";
  const without: readonly Readonly<Record<string, unknown>>[] = [
    { "tokenizer_config.json": PLAIN, "config.json": { model_type: "gpt2", eos_token_id: 50256 } },
    { "tokenizer_config.json": { tokenizer_class: "GPT2Tokenizer", eos_token: null } },
  ];
  for (const files of without) {
    await inFolder(files, async (folder) => {
      const message = `${folder}/tokenizer_config.json: ${missing}`;
      await assert.rejects(loadTokenizer(folder), { name: "TypeError", message });
    });
  }
  const broken = { "tokenizer_config.json": PLAIN, "special_tokens_map.json": ["<s>"] };
  await inFolder(broken, async (folder) => {
    await assert.rejects(readTokenizerFiles(folder), {
      name: "TypeError",
      message: `${folder}/special_tokens_map.json: expected a JSON object, got ["<s>"]; ` +
        "take it from the same checkpoint as tokenizer.json",
    });
  });
});
