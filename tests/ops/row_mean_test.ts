import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { rowMean } from "../../ops/row_mean.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { normals, uniforms } from "../random.ts";
import { rowMean as reference } from "../reference/row_mean.ts";

for (const rows of [0, 1, 7, 257, 5000]) {
  gpuTest(`rowMean of ${rows} rows, plain and weighted`, async (gpu) => {
    await checkOp(gpu, {
      inputs: { values: { shape: [rows] } },
      op: (g, { values }) => rowMean(g, values, undefined, -2),
      reference: ({ values }) => reference(values).map((mean) => -2 * mean),
    });
    const next = uniforms(rows);
    const weights = Float32Array.from({ length: rows }, () => next() < 0.3 ? 0 : next());
    const total = weights.reduce((sum, w) => sum + w, 0);
    await checkOp(gpu, {
      inputs: { values: { shape: [rows] } },
      op: (g, { values }) => rowMean(g, values, { weights: g.scope.upload(weights), total }),
      reference: ({ values }) => reference(values, weights),
    });
  });
}

gpuTest("rowMean does not read rows of weight 0 and is 0 when all are", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const values = g.watch(scope.upload(Float32Array.of(NaN, 3, Infinity)));
  const one = rowMean(g, values, { weights: scope.upload(Float32Array.of(0, 2, 0)), total: 2 });
  assert.deepEqual(await gpu.read(one), Float32Array.of(3));
  const none = rowMean(g, values, { weights: scope.upload(new Float32Array(3)), total: 0 });
  assert.deepEqual(await gpu.read(none), Float32Array.of(0));
  g.backward([none]);
  assert.deepEqual(await gpu.read(g.grad(values)), new Float32Array(3));
});

gpuTest("rowMean gives the same bits twice", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const values = scope.upload(normals(3, 4097));
  assert.deepEqual(await gpu.read(rowMean(g, values)), await gpu.read(rowMean(g, values)));
});

gpuTest("rowMean refuses weights of another length", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  assert.throws(
    () => rowMean(g, scope.zeros([3]), { weights: scope.zeros([2]), total: 1 }),
    /TypeError: rowMean: values are \[3\] and weights \[2\]; expected \[N\] both/,
  );
});
