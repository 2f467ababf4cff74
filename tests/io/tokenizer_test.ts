/** Tokenizers against the published table, `[PAD]`, special tokens, and one line for everything that is wrong. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { loadTokenizer, Tokenizer } from "../../io/tokenizer.ts";
import { golden, methodsTokenizer } from "../methods_text.ts";

/** A byte-pair vocabulary of ASCII with `##` and `###` merged, as small as the methods can use. */
function smallest(
  { merges = ["# #", "## #"], added = [] as object[], more = {} as Record<string, number> } = {},
) {
  const ascii = [...Array(95).keys()].map((i) => String.fromCharCode(i + 32));
  const tokens = [...ascii.map((c) => c === " " ? "Ġ" : c), "Ċ"]
    .concat(merges.map((merge) => merge.replace(" ", "")));
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  return {
    added_tokens: [
      { id: tokens.length, content: "<end>", special: true },
      ...added,
    ],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab: { ...vocab, ...more }, merges },
  };
}
const CONFIG = { eos_token: "<end>" };

Deno.test("tokenizer: every row of the published table, ids and decoding", async () => {
  const tokenizer = await methodsTokenizer();
  const { config, table } = await golden<
    {
      config: { pad_id: number; eos_id: number; separator_id: number };
      table: {
        text: string;
        ids: number[];
        ids_with_special_tokens: number[];
        decoded: string;
      }[];
    }
  >("tokenizer_table");
  assert.deepEqual(
    { pad_id: tokenizer.padId, eos_id: tokenizer.eosId, separator_id: tokenizer.separatorId },
    config,
  );
  assert.equal(tokenizer.size, 601);
  assert.equal(tokenizer.eosToken, "<|eot_id|>");
  for (const { text, ids, ids_with_special_tokens, decoded } of table) {
    assert.deepEqual(tokenizer.encode(text), ids, text);
    assert.equal(tokenizer.decode(ids), decoded);
    assert.equal(tokenizer.decode(ids_with_special_tokens), decoded);
    assert.equal(tokenizer.decode([...ids, tokenizer.padId]), decoded);
  }
});

Deno.test("tokenizer: outputs of the published code decode to its strings, broken characters too", async () => {
  const tokenizer = await methodsTokenizer();
  const { generate } = await golden<
    { generate: { case: string; pred_ids: number[][]; output_strings: string[] }[] }
  >("segments");
  let compared = 0;
  for (const { case: name, pred_ids, output_strings } of generate) {
    pred_ids.forEach((ids, row) => {
      assert.equal(tokenizer.decode(ids), output_strings[row], `${name} row ${row}`);
      compared++;
    });
  }
  assert.equal(compared, 18);
});

Deno.test("tokenizer: nothing to encode or decode, typed arrays, ids without a token", () => {
  const tokenizer = new Tokenizer(smallest(), CONFIG, "f");
  assert.deepEqual(tokenizer.encode(""), []);
  assert.equal(tokenizer.decode([]), "");
  const ids = tokenizer.encode("a ### b");
  assert.equal(tokenizer.decode(Uint32Array.from(ids)), "a ### b");
  assert.equal(tokenizer.decode([...ids, 5000]), "a ### b");
  assert.equal(tokenizer.decode([tokenizer.eosId, tokenizer.padId]), "");
});

Deno.test("tokenizer: spaces are cleaned up only where the config says so", () => {
  const decode = (config: object) => {
    const tokenizer = new Tokenizer(smallest(), { ...CONFIG, ...config }, "f");
    return tokenizer.decode(tokenizer.encode("He does n't , or ?"));
  };
  assert.equal(decode({}), "He does n't , or ?");
  assert.equal(decode({ clean_up_tokenization_spaces: false }), "He does n't , or ?");
  assert.equal(decode({ clean_up_tokenization_spaces: true }), "He doesn't, or?");
});

Deno.test("tokenizer: the step Digits splits at every number of Unicode, each or whole runs", () => {
  const more = { "Â": 200, "½": 201, "Â½": 202, "12": 203, "Â½1": 204 };
  const merges = ["# #", "## #", "Â ½", "1 2", "Â½ 1"];
  const idsOf = (individual_digits: boolean) => {
    const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
    const pretokenizers = [{ type: "Digits", individual_digits }, byteLevel];
    const json = {
      ...smallest({ merges, more }),
      pre_tokenizer: { type: "Sequence", pretokenizers },
    };
    const tokenizer = new Tokenizer(json, CONFIG, "f");
    return ["12", "½1"].map((text) => tokenizer.encode(text));
  };
  const [one, two] = ["1", "2"].map((digit) => digit.charCodeAt(0) - 32);
  assert.deepEqual(idsOf(true), [[one, two], [202, one]]);
  assert.deepEqual(idsOf(false), [[203], [204]]);
});

Deno.test("tokenizer: [PAD] takes the next id and a row, new or existing; one that is there keeps its id", () => {
  const tokenizer = new Tokenizer(smallest(), CONFIG, "f");
  assert.equal(tokenizer.eosId, 98);
  assert.equal(tokenizer.padId, 99);
  assert.equal(tokenizer.size, 100);
  assert.equal(tokenizer.padRow(99), "new");
  assert.equal(tokenizer.padRow(100), "existing");
  assert.equal(tokenizer.padRow(128), "existing");
  assert.throws(() => tokenizer.padRow(98), {
    name: "RangeError",
    message: "The tokenizer has 99 tokens but the model 98 embedding rows; " +
      "take both from the same checkpoint",
  });
  const own = new Tokenizer(smallest({ added: [{ id: 99, content: "[PAD]" }] }), CONFIG, "f");
  assert.deepEqual([own.padId, own.size, own.padRow(100)], [99, 100, "existing"]);
  assert.equal(own.padRow(99), "new");
});

Deno.test("tokenizer: tokens that only tokenizer_config.json names", () => {
  const config = {
    eos_token: { content: "<end>" },
    bos_token: "~",
    added_tokens_decoder: { "99": { content: "<mark>", special: false } },
    additional_special_tokens: ["<new>"],
  };
  const tokenizer = new Tokenizer(smallest(), config, "f");
  assert.equal(tokenizer.eosToken, "<end>");
  assert.deepEqual(tokenizer.encode("<mark>"), [99]);
  assert.deepEqual(tokenizer.encode("<new>"), [100]);
  assert.equal(tokenizer.padId, 101);
  assert.equal(tokenizer.decode(tokenizer.encode("a~b<mark><new>")), "ab<mark>");
});

Deno.test("tokenizer: ### must be one token in every context", () => {
  const advice = "choose a model with such a token (Llama 3, Qwen2, GPT-2, SmolLM2) " +
    "or train one and name it in added_tokens";
  assert.throws(() => new Tokenizer(smallest({ merges: ["# #"] }), CONFIG, "folder"), {
    name: "RangeError",
    message: `folder: '###' must be one token, but "###" becomes "##" "#"; ${advice}`,
  });
  const swallowed = smallest({ merges: [") #", "# #", "## #", ")# ##"] });
  assert.throws(() => new Tokenizer(swallowed, CONFIG, "folder"), (error: Error) => {
    assert.equal(error.name, "RangeError");
    assert.ok(error.message.includes('but "(Thinking speed: 2)###" becomes "("'), error.message);
    assert.ok(error.message.includes('"2" ")###"; choose a model'), error.message);
    return true;
  });
});

Deno.test("tokenizer: broken values are named", () => {
  const refused: readonly [json: unknown, config: unknown, message: string][] = [
    [[], CONFIG, "f/tokenizer.json: expected a JSON object, got []"],
    [{}, CONFIG, "f/tokenizer.json: model: expected a JSON object, got undefined"],
    [
      { model: { vocab: { a: -1 } } },
      CONFIG,
      'f/tokenizer.json: model.vocab: expected tokens with integer ids from 0, got "a": -1',
    ],
    [
      { model: { vocab: 3 } },
      CONFIG,
      "f/tokenizer.json: model.vocab: expected a JSON object, got 3",
    ],
    [
      { ...smallest(), added_tokens: {} },
      CONFIG,
      "f/tokenizer.json: added_tokens must be a list",
    ],
    [
      { ...smallest(), added_tokens: [{ id: 1 }] },
      CONFIG,
      "f/tokenizer.json: added_tokens: expected tokens with integer ids from 0, got undefined: 1",
    ],
    [smallest(), null, "f/tokenizer_config.json: expected a JSON object, got null"],
    [
      smallest(),
      {},
      "f/tokenizer_config.json: eos_token is missing; name the token that ends a text",
    ],
    [
      smallest(),
      { eos_token: "</s>" },
      "f/tokenizer_config.json: eos_token '</s>' is not in tokenizer.json; " +
      "name the token that ends a text",
    ],
  ];
  for (const [json, config, message] of refused) {
    assert.throws(() => new Tokenizer(json, config, "f"), { name: "TypeError", message });
  }
  const unknown = { ...smallest(), pre_tokenizer: { type: "Magic" } };
  assert.throws(() => new Tokenizer(unknown, CONFIG, "f"), {
    name: "TypeError",
    message: /^f\/tokenizer\.json: not understood \([^\n]*Magic[^\n]*\)$/,
  });
});

Deno.test("tokenizer: missing files and files that are no JSON are named", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const advice = "cannot be read; a model folder has tokenizer.json and tokenizer_config.json";
    await assert.rejects(loadTokenizer(folder), {
      name: "TypeError",
      message: `${folder}/tokenizer.json: ${advice}; write them with ` +
        'AutoTokenizer.from_pretrained("MODEL").save_pretrained("FOLDER")',
    });
    await Deno.writeTextFile(join(folder, "tokenizer.json"), JSON.stringify(smallest()));
    await assert.rejects(loadTokenizer(folder), {
      name: "TypeError",
      message: `${folder}/tokenizer_config.json: ${advice}; copy it from the model's repository, ` +
        'or write {"eos_token": "TOKEN"} into it: the token that ends a text',
    });
    const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0a39\n";
    await Deno.writeTextFile(join(folder, "tokenizer_config.json"), pointer);
    await assert.rejects(
      loadTokenizer(folder),
      /_config\.json: a Git LFS pointer .*: git lfs pull$/,
    );
    await Deno.writeTextFile(join(folder, "tokenizer_config.json"), "{eos");
    await assert.rejects(loadTokenizer(folder), {
      name: "TypeError",
      message: `${folder}/tokenizer_config.json: not valid JSON; fetch or save the file again`,
    });
    await Deno.writeTextFile(join(folder, "tokenizer_config.json"), JSON.stringify(CONFIG));
    assert.equal((await loadTokenizer(folder)).size, 100);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
