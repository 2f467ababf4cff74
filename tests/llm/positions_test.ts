/** Rows beyond a model's positions: refused before anything is computed, in the words that a user reads. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { checkRoom, checkWhole, TooLongError, withRowNames } from "../../llm/positions.ts";
import { KvCache } from "../../llm/kv_cache.ts";
import { packRows } from "../../llm/tokens.ts";
import { embedding } from "../../ops/embedding.ts";
import { gpuTest } from "../check_op.ts";
import { type Architecture, tinyBackbone } from "../models/tiny_method.ts";

const LIMITS: [Architecture, string][] = [
  ["llama", "max_position_embeddings"],
  ["gpt2", "n_positions"],
];

for (const [architecture, key] of LIMITS) {
  gpuTest(`${architecture}: a row beyond ${key} is named with its length`, async (gpu) => {
    const model = await tinyBackbone(gpu, architecture, { [key]: 12 });
    using _weights = model.weights;
    using scope = gpu.scope();
    const g = new Graph(gpu, scope, { training: false });
    const forward = (lengths: number[]) => {
      const tokens = packRows(scope, lengths.map((length) => ({ length })));
      const x = embedding(g, model.embeddings, new Uint32Array(tokens.numTokens));
      return model.forward(g, x, tokens).hidden.shape;
    };
    assert.deepEqual(forward([3, 12, 12]), [27, 32]);
    const message = (row: number, needed: number) =>
      `row ${row} of the batch needs ${needed} positions, but the model has 12 ` +
      `(${key} of its config.json); shorten it or leave it out`;
    assert.throws(() => forward([3, 12, 13]), { message: message(2, 13) });
    assert.throws(() => forward([20, 1, 30]), { message: message(0, 20) });

    const cache = new KvCache(scope, model, [14]);
    const extend = (length: number) => {
      const tokens = cache.extend(scope, [{ row: 0, length }]);
      const x = embedding(g, model.embeddings, new Uint32Array(length));
      return model.forward(g, x, tokens, { cache });
    };
    extend(12);
    assert.throws(() => extend(1), { message: message(0, 13) });
  });
}

gpuTest("invisible tokens take no position of their own", async (gpu) => {
  const model = await tinyBackbone(gpu, "gpt2", { n_positions: 4 });
  using _weights = model.weights;
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const tokens = packRows(scope, [{ length: 5, visible: [1, 0, 1, 1, 1] }]);
  const x = embedding(g, model.embeddings, new Uint32Array(5));
  assert.deepEqual(model.forward(g, x, tokens).hidden.shape, [5, 32]);
});

gpuTest("checkRoom: the last token is never fed back, so it needs no position", async (gpu) => {
  const model = await tinyBackbone(gpu, "llama", { max_position_embeddings: 12 });
  using _weights = model.weights;
  const prompts = (length: number) => [
    { length: 2, last: 1, room: 1 },
    { length, last: length - 1, room: 5 },
  ];
  checkRoom(model, prompts(8));
  assert.throws(() => checkRoom(model, prompts(9)), {
    message:
      "row 1 of the batch has a prompt of 9 tokens and may grow by 5, but the model has 12 " +
      "(max_position_embeddings of its config.json); set a smaller max_new_tokens, shorten it or leave it out",
  });
});

gpuTest("checkWhole: every token of a training row needs its position", async (gpu) => {
  const model = await tinyBackbone(gpu, "gpt2", { n_positions: 12 });
  using _weights = model.weights;
  checkWhole(model, [{ last: 6, room: 5 }]);
  assert.throws(() => checkWhole(model, [{ last: 6, room: 5 }, { last: 6, room: 6 }]), {
    message: "row 1 of the batch needs 13 positions, but the model has 12 " +
      "(n_positions of its config.json); shorten it or leave it out",
  });
});

Deno.test("withRowNames: names a batch's rows, and leaves other errors and batches alone", () => {
  const error = new TooLongError(1, 2, "is too long");
  const renamed = withRowNames(error, ["training row 4", "training row 7"]) as Error;
  assert.ok(renamed instanceof RangeError);
  assert.equal(renamed.message, "training row 7 is too long");
  assert.equal(withRowNames(error, ["one", "two", "three"]), error);
  const other = new RangeError("other");
  assert.equal(withRowNames(other, ["one", "two"]), other);
});
