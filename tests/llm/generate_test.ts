import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import { loadModel } from "../../io/load_model.ts";
import type { Backbone } from "../../llm/backbone.ts";
import { generate, type Generated, type GenerateOptions } from "../../llm/generate.ts";
import { KvCache } from "../../llm/kv_cache.ts";
import { embedding } from "../../ops/embedding.ts";
import { gather } from "../../ops/gather.ts";
import { gpuTest } from "../check_op.ts";
import { assertRowsLeave, countingBackbone } from "../counting_backbone.ts";

const folder = new URL("../golden/stories260K", import.meta.url).pathname;

/** Beginnings of stories in stories260K's tokens. */
const PROMPTS = [[1, 403, 407], [1, 403], [1], [1, 403, 407, 261, 378, 432]];
const MAX_NEW_TOKENS = 21;

async function continueStories(
  gpu: Gpu,
  model: Backbone,
  prompts: readonly number[][],
  options: Partial<GenerateOptions>,
): Promise<Generated[]> {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const cache = new KvCache(scope, model, prompts.map((p) => p.length + MAX_NEW_TOKENS));
  const tokens = cache.extend(scope, prompts.map(({ length }, row) => ({ row, length })));
  const x = embedding(g, model.embeddings, Uint32Array.from(prompts.flat()));
  const { hidden } = model.forward(g, x, tokens, { cache });
  const ends = Uint32Array.from(prompts, (_, b) => tokens.offsets[b + 1] - 1);
  const rows = prompts.map((_, row) => row);
  return await generate(model, cache, rows, gather(g, hidden, ends), {
    maxNewTokens: MAX_NEW_TOKENS,
    eosIds: [],
    doSample: false,
    ...options,
  });
}

gpuTest("generate(): a row's tokens do not depend on what else is in the batch", async (gpu) => {
  const model = await loadModel(gpu, folder);
  const sampleIds = [40, 41, 42, 43];
  const sampled = { doSample: true, temperature: 1, topP: 0.9, topK: 50 };
  for (const options of [{}, sampled]) {
    const random = { seed: 3, stream: 1, sampleIds };
    const together = await continueStories(gpu, model, PROMPTS, { ...options, random });
    for (const [i, prompt] of PROMPTS.entries()) {
      const own = { seed: 3, stream: 1, sampleIds: [sampleIds[i]] };
      const [alone] = await continueStories(gpu, model, [prompt], { ...options, random: own });
      assert.deepEqual(alone.ids, together[i].ids);
    }
  }
});

gpuTest("generate(): rows end at any of several end ids and leave the batch", async (gpu) => {
  const model = await loadModel(gpu, folder);
  const free = await continueStories(gpu, model, PROMPTS, {});
  const eosIds = [free[0].ids[2], free[1].ids[9]];
  const ended = await continueStories(gpu, model, PROMPTS, { eosIds });
  for (const [i, { ids, logProbs }] of ended.entries()) {
    const end = free[i].ids.findIndex((id) => eosIds.includes(id));
    const expected = end < 0 ? free[i].ids : free[i].ids.slice(0, end + 1);
    assert.deepEqual(ids, expected);
    assert.equal(logProbs.length, ids.length);
  }
  assert.ok(ended[0].ids.length <= 3);
});

gpuTest("generate(): a row that has ended is computed no more after the next read", async (gpu) => {
  const model = await loadModel(gpu, folder);
  const free = await continueStories(gpu, model, PROMPTS, {});
  // Three rows write the first of these within five tokens, the last row only the second, much later.
  const eosIds = [free[0].ids[2], free[3].ids[17]];
  const seen: number[] = [];
  const ended = await continueStories(gpu, countingBackbone(model, seen), PROMPTS, { eosIds });
  const lengths = ended.map(({ ids }) => ids.length);
  assert.deepEqual(lengths, [3, 4, 5, 18]);
  const [prompts, ...passes] = seen;
  assert.equal(prompts, PROMPTS.flat().length);
  // A row's last token is never fed; at most eight tokens are recorded before a read.
  assertRowsLeave(passes, lengths.map((length) => length - 1), 8);
});

gpuTest("generate(): recorded uniforms choose by the cumulative probability", async (gpu) => {
  const model = await loadModel(gpu, folder);
  const uniforms = PROMPTS.map((_, i) =>
    Float32Array.from({ length: MAX_NEW_TOKENS }, (_, t) => (i + t) % 7 / 7)
  );
  const first = await continueStories(gpu, model, PROMPTS, { doSample: true, uniforms });
  const second = await continueStories(gpu, model, PROMPTS, { doSample: true, uniforms });
  assert.deepEqual(second, first);
  assert.ok(first.every(({ logProbs }) => logProbs.every((p) => p <= 0)));
  const greedy = await continueStories(gpu, model, PROMPTS, {});
  assert.notDeepEqual(first.map(({ ids }) => ids), greedy.map(({ ids }) => ids));
});

gpuTest(
  "generate(): suppressed ids are never chosen; no rows and no tokens are fine",
  async (gpu) => {
    const model = await loadModel(gpu, folder);
    const free = await continueStories(gpu, model, PROMPTS, {});
    const suppressed = [free[0].ids[0]];
    const without = await continueStories(gpu, model, PROMPTS, { suppressed });
    assert.ok(without.every(({ ids }) => !ids.includes(suppressed[0])));
    const none = await continueStories(gpu, model, PROMPTS, { maxNewTokens: 0 });
    assert.deepEqual(none, PROMPTS.map(() => ({ ids: [], logProbs: [] })));
  },
);

gpuTest("generate() asks for random numbers when it is to sample", async (gpu) => {
  const model = await loadModel(gpu, folder);
  await assert.rejects(
    continueStories(gpu, model, [[1]], { doSample: true }),
    /doSample needs random \(seed and ids\) or uniforms/,
  );
});
