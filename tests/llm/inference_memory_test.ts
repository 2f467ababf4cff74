/** A pass without gradients keeps one block's intermediates, not those of all blocks. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import { KvCache } from "../../llm/kv_cache.ts";
import { embedding } from "../../ops/embedding.ts";
import { gpuTest } from "../check_op.ts";
import { type Architecture, tinyBackbone } from "../models/tiny_method.ts";

const NUM_TOKENS = 300;

/** Bytes that are in use after a cached pass over one row. */
async function bytesAfterPass(gpu: Gpu, architecture: Architecture, layers: number) {
  const key = architecture === "gpt2" ? "n_layer" : "num_hidden_layers";
  const model = await tinyBackbone(gpu, architecture, { [key]: layers });
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const cache = new KvCache(scope, model, [NUM_TOKENS]);
  const tokens = cache.extend(scope, [{ row: 0, length: NUM_TOKENS }]);
  const x = embedding(g, model.embeddings, new Uint32Array(NUM_TOKENS));
  const before = gpu.pool.memory.inUse;
  model.forward(g, x, tokens, { cache });
  return gpu.pool.memory.inUse - before;
}

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(`${architecture}: without gradients a layer leaves its output only`, async (gpu) => {
    const perLayer = (await bytesAfterPass(gpu, architecture, 5) -
      await bytesAfterPass(gpu, architecture, 2)) / 3;
    const output = NUM_TOKENS * 32 * 4; // [N, D]
    assert.ok(perLayer <= 1.2 * output, `${perLayer} bytes a layer, its output has ${output}`);
  });
}
