import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { loadModel } from "../../io/load_model.ts";
import { generate } from "../../llm/generate.ts";
import { KvCache } from "../../llm/kv_cache.ts";
import { packRows } from "../../llm/tokens.ts";
import { logits } from "../../ops/cross_entropy.ts";
import { embedding } from "../../ops/embedding.ts";
import { assertClose, gpuTest } from "../check_op.ts";

const folder = new URL("../golden/stories260K", import.meta.url).pathname;

/** Greedy ids published with the model (llama2.c, doc/stories260K.md), logits by numpy in float64. */
interface Golden {
  readonly ids: number[];
  readonly logits_prompt_ids: number[];
  readonly logits_last_position_float64: number[];
}

gpuTest("stories260K, a trained Llama: golden logits and 256 golden greedy ids", async (gpu) => {
  const golden: Golden = JSON.parse(await Deno.readTextFile(`${folder}/golden.json`));
  const model = await loadModel(gpu, folder);
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const prompt = Uint32Array.from(golden.logits_prompt_ids);
  const x = embedding(g, model.embeddings, prompt);
  const { hidden } = model.forward(g, x, packRows(scope, [{ length: prompt.length }]));
  const all = await gpu.read(logits(g, hidden, model.head));
  const last = all.slice(-512); // the vocabulary is a multiple of 4: rows have no padding
  assertClose(last, golden.logits_last_position_float64, 2e-5, "logits");

  const [first, ...rest] = golden.ids;
  const cache = new KvCache(scope, model, [golden.ids.length]);
  const tokens = cache.extend(scope, [{ row: 0, length: 1 }]);
  const bos = embedding(g, model.embeddings, Uint32Array.of(first));
  const start = model.forward(g, bos, tokens, { cache }).hidden;
  const [row] = await generate(model, cache, [0], start, {
    maxNewTokens: rest.length,
    eosIds: [],
    doSample: false,
  });
  assert.deepEqual(row.ids, rest);
});
