/** [PAD]'s row: appended, given, found, and everything that does not fit. */
import assert from "node:assert/strict";
import type { Gpu } from "../../gpu/device.ts";
import type { Backbone } from "../../llm/backbone.ts";
import { embedsStd } from "../../models/embeds_std.ts";
import { checkVocabulary } from "../../models/trained.ts";
import { addPadRow } from "../../models/vocabulary.ts";
import { gpuTest } from "../check_op.ts";
import { methodsTokenizer } from "../methods_text.ts";
import { tinyBackbone } from "./tiny_method.ts";

const numbers = (gpu: Gpu, { embeddings }: Backbone) => gpu.read(embeddings);

gpuTest("addPadRow(): a seeded row N(0, initializer_range) behind the others", async (gpu) => {
  const tokenizer = await methodsTokenizer();
  const model = await tinyBackbone(gpu);
  const before = await numbers(gpu, model);
  await addPadRow(model, tokenizer, 3);
  const after = await numbers(gpu, model);
  assert.deepEqual(model.embeddings.shape, [601, 32]);
  assert.equal(model.head, model.embeddings);
  assert.deepEqual(after.subarray(0, before.length), before);
  const row = after.subarray(before.length);
  const std = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / 32);
  assert.ok(std > 0.12 && std < 0.3, `std ${std}`);
  const again = await tinyBackbone(gpu);
  await addPadRow(again, tokenizer, 3);
  assert.deepEqual(await numbers(gpu, again), after);
  await addPadRow(again, tokenizer, 3); // the table is large enough now
  assert.deepEqual(await numbers(gpu, again), after);
});

gpuTest("addPadRow(): given rows for an untied head, too", async (gpu) => {
  const tokenizer = await methodsTokenizer();
  const model = await tinyBackbone(gpu, "llama", { tie_word_embeddings: false });
  const [row, headRow] = [1, 2].map((x) => new Float32Array(32).fill(x));
  await addPadRow(model, tokenizer, 0, { row, headRow });
  assert.deepEqual((await numbers(gpu, model)).subarray(600 * 32), row);
  assert.deepEqual((await gpu.read(model.head)).subarray(600 * 32), headRow);
});

gpuTest("addPadRow(): the mean of the other rows, of f32, bf16 and f16", async (gpu) => {
  const tokenizer = await methodsTokenizer();
  const model = await tinyBackbone(gpu);
  const before = await numbers(gpu, model);
  await addPadRow(model, tokenizer, 0, "mean");
  const row = (await numbers(gpu, model)).subarray(600 * 32);
  for (let d = 0; d < 32; d++) {
    const column = Array.from({ length: 600 }, (_, i) => before[i * 32 + d]);
    assert.ok(Math.abs(row[d] - column.reduce((a, b) => a + b) / 600) < 1e-7);
  }
  const coarse = await tinyBackbone(gpu);
  const words = Uint16Array.from({ length: 600 * 32 }, (_, i) => i < 300 * 32 ? 0x3f80 : 0xc040);
  const halves = Float16Array.from({ length: 600 * 32 }, (_, i) => i < 300 * 32 ? 1 : -3);
  const means = [new Uint16Array(32).fill(0xbf80), new Float16Array(32).fill(-1)];
  for (const [i, data] of [words, halves].entries()) {
    coarse.weights.replace(coarse.embeddings.name, data, [600, 32]);
    await addPadRow(coarse, tokenizer, 0, "mean");
    const after = await gpu.readback(coarse.embeddings).data();
    assert.deepEqual(after.subarray(600 * 32), means[i]);
  }
});

gpuTest("addPadRow(): a bf16 table stays bf16", async (gpu) => {
  const tokenizer = await methodsTokenizer();
  const model = await tinyBackbone(gpu);
  const words = new Uint16Array(600 * 32).fill(0x3f80);
  model.weights.replace(model.embeddings.name, words, [600, 32]);
  await addPadRow(model, tokenizer, 0, { row: new Float32Array(32).fill(1.00390625) });
  const after = await gpu.readback(model.embeddings).data() as Uint16Array;
  assert.equal(after[600 * 32 - 1], 0x3f80);
  assert.equal(after[600 * 32], 0x3f80); // a tie goes to the even neighbour
});

gpuTest(
  "addPadRow(): an f16 table stays f16, and an untied head of another type its own",
  async (gpu) => {
    const tokenizer = await methodsTokenizer();
    const model = await tinyBackbone(gpu, "llama", { tie_word_embeddings: false });
    const words = Uint16Array.from({ length: 600 * 32 }, (_, i) => i); // subnormals among them
    model.weights.replace(model.embeddings.name, new Float16Array(words.buffer), [600, 32]);
    const row = new Float32Array(32).fill(1 + 2 ** -11); // between two numbers of f16
    row[1] = 3 * 2 ** -25; // between two of its subnormals
    await addPadRow(model, tokenizer, 0, { row, headRow: row });
    assert.deepEqual([model.embeddings.dtype, model.head.dtype], ["f16", "f32"]);
    const after = await gpu.readback(model.embeddings).data() as Float16Array<ArrayBuffer>;
    const bits = new Uint16Array(after.buffer);
    assert.deepEqual(bits.subarray(0, 600 * 32), words);
    assert.deepEqual([...bits.subarray(600 * 32, 600 * 32 + 3)], [0x3c00, 2, 0x3c00]); // to even
    assert.deepEqual((await gpu.read(model.head)).subarray(600 * 32), row);
  },
);

gpuTest(
  "addPadRow(): a table with spare rows is cut, and [PAD] takes the row it finds",
  async (gpu) => {
    const tokenizer = await methodsTokenizer();
    const model = await tinyBackbone(gpu, "llama", { vocab_size: 640 });
    const before = await numbers(gpu, model);
    await addPadRow(model, tokenizer, 0);
    assert.deepEqual(model.embeddings.shape, [601, 32]);
    assert.deepEqual(await numbers(gpu, model), before.slice(0, 601 * 32));
  },
);

gpuTest("addPadRow(): what does not fit is refused", async (gpu) => {
  const tokenizer = await methodsTokenizer();
  await assert.rejects(
    addPadRow(await tinyBackbone(gpu, "llama", { vocab_size: 500 }), tokenizer, 0),
    {
      name: "RangeError",
      message: "The tokenizer has 600 tokens but the model 500 embedding rows; " +
        "take both from the same checkpoint",
    },
  );
  const short = { row: new Float32Array(4) };
  await assert.rejects(addPadRow(await tinyBackbone(gpu), tokenizer, 0, short), {
    name: "TypeError",
    message: "[PAD]'s row has 4 numbers; model.embed_tokens.weight[600, 32] needs 32",
  });
  const trained = await tinyBackbone(gpu);
  trained.weights.train();
  await assert.rejects(addPadRow(trained, tokenizer, 0), {
    name: "TypeError",
    message: "model.embed_tokens.weight[600, 32] is trained already: add [PAD]'s row first",
  });
  assert.throws(() => checkVocabulary(trained, tokenizer), {
    name: "TypeError",
    message:
      "model.embed_tokens.weight[600, 32] must have 601 rows, one for each token and [PAD]: " +
      "call addPadRow first",
  });
});

gpuTest(
  "embedsStd(): a number, the published constant, or what the matrix measures without [PAD]",
  async (gpu) => {
    const model = await tinyBackbone(gpu);
    assert.equal(await embedsStd(model, 0.5, "gpt2", 600), 0.5);
    assert.equal(await embedsStd(model, "auto", "/models/gpt2/", 600), 0.12);
    assert.equal(await embedsStd(model, "auto", "meta-llama/Llama-3.2-1B-Instruct", 600), 0.018);
    const pinned = `meta-llama/Llama-3.2-1B-Instruct@${"0".repeat(40)}`;
    assert.equal(await embedsStd(model, "auto", pinned, 600), 0.018);
    const before = await numbers(gpu, model);
    const mean = before.reduce((a, b) => a + b) / before.length;
    const std = Math.sqrt(before.reduce((sum, x) => sum + (x - mean) ** 2, 0) / before.length);
    await addPadRow(model, await methodsTokenizer(), 0, { row: new Float32Array(32).fill(100) });
    const measured = await embedsStd(model, "auto", "tiny", 600);
    assert.ok(Math.abs(measured - std) < 1e-9, `${measured} and ${std}`);
  },
);
