import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { attention, layoutSegment, type Segment, wholeRows } from "../../ops/attention.ts";
import { cacheAppend } from "../../ops/cache_append.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import * as reference from "../reference/attention.ts";

const numSlots = 31;
// Two rows of 17 and 14 slots, appended to three times: 9 + 6, 1 + 1 and 4 + 3 tokens.
const segments: Segment[] = [];
for (let i = 0, done = [0, 0]; i < 3; i++) {
  const counts = [[9, 6], [1, 1], [4, 3]][i];
  segments.push({
    rows: [
      { queryBegin: 0, queryCount: counts[0], slotBegin: 0, slotOfFirstQuery: done[0] },
      {
        queryBegin: counts[0],
        queryCount: counts[1],
        slotBegin: 17,
        slotOfFirstQuery: 17 + done[1],
      },
    ],
    numTokens: counts[0] + counts[1],
    numSlots,
    visible: null,
  });
  done = [done[0] + counts[0], done[1] + counts[1]];
}

for (const headDim of [8, 10]) {
  const heads = { numHeads: 2, numKeyValueHeads: 1, headDim };

  // Each segment's queries are the attention before it where there is one, so that gradients flow along the chain.
  gpuTest(`cacheAppend: a chain of three segments, heads of ${headDim}`, async (gpu) => {
    const inputs = { q0: { shape: [15, 2 * headDim] } } as Record<string, { shape: number[] }>;
    segments.forEach(({ numTokens }, i) => {
      inputs[`k${i}`] = { shape: [numTokens, headDim] };
      inputs[`v${i}`] = { shape: [numTokens, headDim] };
      inputs[`q${i}`] = { shape: [numTokens, 2 * headDim] };
    });
    await checkOp(gpu, {
      inputs,
      op: (g, x) => {
        const [keys, values] = [g.zeros([numSlots, headDim]), g.zeros([numSlots, headDim])];
        return segments.map((segment, i) => {
          const layout = layoutSegment(g.scope, segment);
          cacheAppend(g, x[`k${i}`], keys, layout);
          cacheAppend(g, x[`v${i}`], values, layout);
          return attention(g, x[`q${i}`], keys, values, layout, heads);
        });
      },
      reference: (x) => {
        const [keys, values] = [0, 1].map(() => new Float64Array(numSlots * headDim));
        return segments.map((segment, i) => {
          for (const { queryBegin, queryCount, slotOfFirstQuery } of segment.rows) {
            const [from, to] = [queryBegin, queryBegin + queryCount].map((n) => n * headDim);
            keys.set(x[`k${i}`].subarray(from, to), slotOfFirstQuery * headDim);
            values.set(x[`v${i}`].subarray(from, to), slotOfFirstQuery * headDim);
          }
          return reference.attention(x[`q${i}`], keys, values, segment, heads);
        });
      },
    });
  });
}

gpuTest("cacheAppend: only the new tokens' slots change", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const cache = scope.upload(new Float32Array(numSlots * 3).fill(7), [numSlots, 3]);
  const x = normals(4, 7 * 3);
  cacheAppend(g, scope.upload(x, [7, 3]), cache, layoutSegment(scope, segments[2]));
  const expected = new Float32Array(numSlots * 3).fill(7);
  expected.set(x.subarray(0, 12), 10 * 3);
  expected.set(x.subarray(12), 24 * 3);
  assert.deepEqual(await gpu.read(cache), expected);
});

gpuTest("cacheAppend: a latent that comes from attention over the cache before it", async (gpu) => {
  const heads = { numHeads: 1, numKeyValueHeads: 1, headDim: 4 };
  const rows = (count: number, slot: number): Segment => ({
    rows: [{ queryBegin: 0, queryCount: count, slotBegin: 0, slotOfFirstQuery: slot }],
    numTokens: count,
    numSlots: 5,
    visible: null,
  });
  const chain = [rows(3, 0), rows(1, 3), rows(1, 4)];
  await checkOp(gpu, {
    inputs: { x: { shape: [3, 4] }, q: { shape: [1, 4] } },
    op: (g, { x, q }) => {
      const cache = g.zeros([5, 4]);
      const values = g.zeros([5, 4]);
      let latent: Tensor = x;
      for (const segment of chain) {
        const layout = layoutSegment(g.scope, segment);
        cacheAppend(g, latent, cache, layout);
        cacheAppend(g, latent, values, layout);
        const last = { ...segment, rows: [{ ...segment.rows[0], queryCount: 1 }], numTokens: 1 };
        last.rows[0].slotOfFirstQuery += segment.numTokens - 1;
        latent = attention(g, q, cache, values, layoutSegment(g.scope, last), heads);
      }
      return latent;
    },
    reference: ({ x, q }) => {
      const cache = new Float64Array(20);
      cache.set(x);
      for (let slot = 3; slot <= 5; slot++) {
        const latent = reference.attention(q, cache, cache, rows(1, slot - 1), heads);
        if (slot === 5) return latent;
        cache.set(latent, slot * 4);
      }
      return cache;
    },
  });
});

gpuTest("cacheAppend: nothing to append, nothing trained, a wrong shape", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const empty = { ...wholeRows([]), numSlots: 2 };
  const cache = scope.zeros([2, 4]);
  cacheAppend(g, scope.zeros([0, 4]), cache, layoutSegment(scope, empty));
  assert.equal(g.needsGrad(cache), false);
  const layout = layoutSegment(scope, wholeRows([2]));
  assert.throws(
    () => cacheAppend(g, scope.zeros([2, 3]), cache, layout),
    /TypeError: cacheAppend: x is \[2, 3\], cache \[2, 4\]; expected \[2, 3\] and \[2, 3\]/,
  );
  await gpu.finish();
});
