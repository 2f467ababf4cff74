/** Copied prefixes: what follows them computes, and learns, what it would behind the prefixes themselves. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import { copyPrefixes } from "../../llm/cache_copy.ts";
import { KvCache } from "../../llm/kv_cache.ts";
import { packRows } from "../../llm/tokens.ts";
import { embedding } from "../../ops/embedding.ts";
import { gather } from "../../ops/gather.ts";
import { mse } from "../../ops/mse.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { type Architecture, tinyBackbone } from "../models/tiny_method.ts";
import { normals } from "../random.ts";

// Two continuations of row 1 and one of row 0, each behind a prefix of it.
const ROWS = [[5, 6, 7, 8, 9], [11, 12, 13]];
const PREFIXES = [{ row: 1, length: 3 }, { row: 0, length: 4 }, { row: 1, length: 2 }];
const FOLLOWING = [[21, 22], [31], [41, 42, 43]];

/** Hidden states of what follows, and the gradient of a loss on them. */
async function run(
  gpu: Gpu,
  architecture: Architecture,
  isCopied: boolean,
): Promise<Float32Array[]> {
  const backbone = await tinyBackbone(gpu, architecture);
  using weights = backbone.weights;
  const parameters = weights.train();
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const embed = (ids: number[][]) =>
    embedding(g, backbone.embeddings, Uint32Array.from(ids.flat()));
  let hidden;
  if (isCopied) {
    const source = new KvCache(scope, backbone, ROWS.map(({ length }) => length + 1));
    const asked = source.extend(scope, ROWS.map(({ length }, row) => ({ row, length })));
    backbone.forward(g, embed(ROWS), asked, { cache: source });
    const room = PREFIXES.map(({ length }, i) => length + FOLLOWING[i].length);
    const cache = new KvCache(scope, backbone, room);
    copyPrefixes(g, source, cache, PREFIXES);
    const tokens = cache.extend(scope, FOLLOWING.map(({ length }, row) => ({ row, length })));
    hidden = backbone.forward(g, embed(FOLLOWING), tokens, { cache }).hidden;
  } else {
    const whole = PREFIXES.map(({ row, length }, i) => [
      ...ROWS[row].slice(0, length),
      ...FOLLOWING[i],
    ]);
    const tokens = packRows(scope, whole.map(({ length }) => ({ length })));
    const all = backbone.forward(g, embed(whole), tokens).hidden;
    const kept = FOLLOWING.flatMap((ids, i) =>
      ids.map((_, j) => tokens.offsets[i] + PREFIXES[i].length + j)
    );
    hidden = gather(g, all, Uint32Array.from(kept));
  }
  const target = scope.upload(normals(3, hidden.size), hidden.shape);
  g.backward([mse(g, hidden, target)]);
  const gradients = await Promise.all(parameters.map(({ gradient }) => gpu.read(gradient!)));
  return [await gpu.read(hidden), ...gradients];
}

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(
    `copyPrefixes: hidden states and gradients as without copies (${architecture})`,
    async (gpu) => {
      const copied = await run(gpu, architecture, true);
      const whole = await run(gpu, architecture, false);
      copied.forEach((numbers, i) => {
        assertClose(numbers, whole[i], 1e-5, i === 0 ? "hidden" : `gradient ${i - 1}`);
        assert.ok(numbers.some((v) => v !== 0));
      });
    },
  );
}

gpuTest("copyPrefixes refuses more tokens than there are", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const model = { numLayers: 1, kvWidth: 4 };
  const [source, target] = [new KvCache(scope, model, [4]), new KvCache(scope, model, [4])];
  source.extend(scope, [{ row: 0, length: 2 }]);
  assert.throws(() => copyPrefixes(g, source, target, [{ row: 0, length: 3 }]), {
    name: "RangeError",
    message: "key/value cache: row 0 has 2 tokens, 3 cannot be copied",
  });
});
