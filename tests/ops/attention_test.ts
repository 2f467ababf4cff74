import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import {
  attention,
  type AttentionForm,
  type AttentionOptions,
  layoutSegment,
  type Segment,
  wholeRows,
} from "../../ops/attention.ts";
import { checkOp, gpuTest, testGpu } from "../check_op.ts";
import { normals, uniforms } from "../random.ts";
import * as reference from "../reference/attention.ts";

const forms: AttentionForm[] = (await testGpu()).isSoftware
  ? ["subgroup", "portable"]
  : ["portable"];

function heads(numHeads: number, numKeyValueHeads: number, headDim: number): AttentionOptions {
  return { numHeads, numKeyValueHeads, headDim };
}

async function check(gpu: Gpu, segment: Segment, options: AttentionOptions, samples = 60) {
  const { numHeads, numKeyValueHeads, headDim } = options;
  const width = numKeyValueHeads * headDim;
  await checkOp(gpu, {
    inputs: {
      q: { shape: [segment.numTokens, numHeads * headDim] },
      keys: { shape: [segment.numSlots, width] },
      values: { shape: [segment.numSlots, width] },
    },
    op: (g, { q, keys, values }) =>
      attention(g, q, keys, values, layoutSegment(g.scope, segment), options),
    reference: ({ q, keys, values }) => reference.attention(q, keys, values, segment, options),
    samples,
  });
}

function hide(numSlots: number, hidden: (slot: number) => boolean): Uint32Array {
  return Uint32Array.from({ length: numSlots }, (_, slot) => hidden(slot) ? 0 : 1);
}

for (const form of forms) {
  for (const [numHeads, numKeyValueHeads, headDim] of [[6, 2, 64], [4, 4, 32], [9, 3, 12]]) {
    const name = `${numHeads}/${numKeyValueHeads} heads of ${headDim}`;
    gpuTest(`attention ${form}: packed rows of 1, 7 and 33 tokens, ${name}`, async (gpu) => {
      const options = { ...heads(numHeads, numKeyValueHeads, headDim), form };
      await check(gpu, wholeRows([1, 7, 33]), options);
    });
  }

  gpuTest(`attention ${form}: rows of 257, 1 and 40 tokens`, async (gpu) => {
    await check(gpu, wholeRows([257, 1, 40]), { ...heads(2, 1, 8), form }, 20);
  });

  gpuTest(`attention ${form}: heads of 128, a scale of its own`, async (gpu) => {
    await check(gpu, wholeRows([5, 18]), { ...heads(8, 2, 128), scale: 0.03, form }, 30);
  });

  gpuTest(
    `attention ${form}: hidden keys left, inside and right, queries that see none`,
    async (gpu) => {
      const random = uniforms(5);
      const noise = Array.from({ length: 33 }, () => random() < 0.4);
      // Row 0 sees nothing, row 1 nothing at its first three and last two keys, row 2 misses some inside.
      const visible = hide(
        44,
        (s) => s < 4 || s < 7 || s === 9 || s === 10 || s >= 11 && noise[s - 11],
      );
      await check(gpu, wholeRows([4, 7, 33], visible), { ...heads(6, 2, 32), form });
    },
  );

  gpuTest(`attention ${form}: a query without keys gives zeros and no gradient`, async (gpu) => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const [q, k, v] = [1, 2, 3].map((seed) => g.watch(scope.upload(normals(seed, 16), [2, 8])));
    const layout = layoutSegment(scope, wholeRows([2], Uint32Array.of(0, 0)));
    const out = attention(g, q, k, v, layout, { ...heads(1, 1, 8), form });
    g.backward([out]);
    for (const tensor of [out, g.grad(q), g.grad(k), g.grad(v)]) {
      assert.deepEqual([...await gpu.read(tensor)], Array(16).fill(0));
    }
  });

  gpuTest(
    `attention ${form}: later tokens of rows that lie apart in a larger cache`,
    async (gpu) => {
      const segment: Segment = {
        rows: [
          { queryBegin: 0, queryCount: 3, slotBegin: 40, slotOfFirstQuery: 53 },
          { queryBegin: 3, queryCount: 0, slotBegin: 3, slotOfFirstQuery: 3 },
          { queryBegin: 3, queryCount: 11, slotBegin: 5, slotOfFirstQuery: 16 },
          { queryBegin: 14, queryCount: 1, slotBegin: 30, slotOfFirstQuery: 39 },
        ],
        numTokens: 15,
        numSlots: 60,
        visible: null,
      };
      await check(gpu, segment, { ...heads(4, 2, 16), form });
      const visible = hide(60, (s) => s % 7 === 0 || s === 30);
      await check(gpu, { ...segment, visible }, { ...heads(4, 2, 16), form });
    },
  );

  gpuTest(`attention ${form}: one new token a row`, async (gpu) => {
    const slots = [0, 1, 6, 7, 8, 20, 69];
    const rows = slots.map((s, b) => (
      { queryBegin: b, queryCount: 1, slotBegin: 70 * b, slotOfFirstQuery: 70 * b + s }
    ));
    const segment = { rows, numTokens: 7, numSlots: 490, visible: null };
    for (const options of [heads(4, 2, 32), heads(9, 3, 64), heads(3, 3, 12)]) {
      await check(gpu, segment, { ...options, form }, 30);
    }
    const visible = hide(490, (s) => s % 3 === 0);
    await check(gpu, { ...segment, visible }, { ...heads(4, 2, 32), form }, 30);
  });

  gpuTest(`attention ${form}: no tokens`, async (gpu) => {
    await check(gpu, wholeRows([]), { ...heads(4, 2, 32), form });
    await check(gpu, wholeRows([0, 0]), { ...heads(4, 2, 32), form });
  });

  gpuTest(
    `attention ${form}: gradients are added, and bit-identical in a second run`,
    async (gpu) => {
      const runs: Float32Array[][] = [];
      for (let run = 0; run < 2; run++) {
        using scope = gpu.scope();
        const g = new Graph(gpu, scope);
        const q = g.watch(scope.upload(normals(1, 50 * 64), [50, 64]));
        const k = g.watch(scope.upload(normals(2, 50 * 32), [50, 32]));
        const v = g.watch(scope.upload(normals(3, 50 * 32), [50, 32]));
        const layout = layoutSegment(scope, wholeRows([20, 30]));
        const options = { ...heads(4, 2, 16), form };
        const outs = [0, 1].map(() => attention(g, q, k, v, layout, options));
        g.backward([outs[0]]);
        const once = await Promise.all([q, k, v].map((x) => gpu.read(g.grad(x))));
        const again = attention(g, q, k, v, layout, options);
        g.backward([again]);
        const twice = await Promise.all([q, k, v].map((x) => gpu.read(g.grad(x))));
        once.forEach((d, i) => assert.deepEqual(twice[i], d.map((y) => 2 * y)));
        runs.push([await gpu.read(outs[0]), ...once]);
      }
      assert.deepEqual(runs[1], runs[0]);
    },
  );
}

gpuTest("attention: heads of 10 choose the portable form", async (gpu) => {
  await check(gpu, wholeRows([1, 7, 33]), heads(6, 2, 10));
  await check(gpu, wholeRows([7, 2], hide(9, (s) => s === 2)), heads(2, 2, 2));
});

gpuTest("attention: what does not fit is refused", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const [q, k] = [scope.zeros([3, 32]), scope.zeros([3, 16])];
  const layout = layoutSegment(scope, wholeRows([3]));
  const run = (options: AttentionOptions) => () => attention(g, q, k, k, layout, options);
  assert.throws(
    run(heads(3, 2, 8)),
    /RangeError: attention: 3 query heads cannot share 2 key heads/,
  );
  assert.throws(run(heads(4, 4, 8)), /TypeError: attention: keys is \[3, 16\], expected \[3, 32\]/);
  assert.throws(
    run({ ...heads(16, 8, 2), form: "subgroup" }),
    /RangeError: .* heads of 4 n, got 2/,
  );
  const row = { queryBegin: 0, queryCount: 3, slotBegin: 0, slotOfFirstQuery: 0 };
  const make = (segment: Partial<Segment>) => () =>
    layoutSegment(scope, { rows: [row], numTokens: 3, numSlots: 3, visible: null, ...segment });
  assert.throws(make({ rows: [{ ...row, queryBegin: 1 }] }), /row 0 begins at token 1, expected 0/);
  assert.throws(make({ rows: [{ ...row, slotOfFirstQuery: 1 }] }), /in a cache of 3 slots/);
  assert.throws(make({ rows: [{ ...row, slotBegin: 1 }] }), /row 0 has slots 1 to 3/);
  assert.throws(make({ numTokens: 4 }), /the rows have 3 tokens, the segment 4/);
  assert.throws(make({ visible: new Uint32Array(2) }), /visible has 2 slots, the cache 3/);
});
