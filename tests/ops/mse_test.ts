import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { mse, squaredError } from "../../ops/mse.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { uniforms } from "../random.ts";
import { squaredError as reference } from "../reference/mse.ts";
import { rowMean } from "../reference/row_mean.ts";

for (const [rows, dim] of [[0, 5], [1, 1], [7, 257], [257, 7], [9, 64]]) {
  const inputs = { x: { shape: [rows, dim] }, target: { shape: [rows, dim] } };

  gpuTest(`mse and squaredError [${rows}, ${dim}]`, async (gpu) => {
    await checkOp(gpu, {
      inputs,
      op: (g, { x, target }) => [mse(g, x, target), squaredError(g, x, target)],
      reference: ({ x, target }) => {
        const perRow = reference(x, target, rows);
        return [rowMean(perRow), perRow];
      },
    });
  });

  gpuTest(`mse with row weights [${rows}, ${dim}]`, async (gpu) => {
    const next = uniforms(rows + dim);
    const weights = Float32Array.from({ length: rows }, () => next() < 0.4 ? 0 : next());
    const total = weights.reduce((sum, w) => sum + w, 0);
    await checkOp(gpu, {
      inputs,
      op: (g, { x, target }) => mse(g, x, target, { weights: g.scope.upload(weights), total }),
      reference: ({ x, target }) => rowMean(reference(x, target, rows), weights),
    });
  });
}

gpuTest("mse: only one side trained; a row of weight 0 may hold NaN", async (gpu) => {
  await checkOp(gpu, {
    inputs: { x: { shape: [3, 5] }, target: { shape: [3, 5], grad: false } },
    op: (g, { x, target }) => mse(g, x, target),
    reference: ({ x, target }) => rowMean(reference(x, target, 3)),
  });
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const x = g.watch(scope.upload(Float32Array.of(NaN, 1, 3, 4), [2, 2]));
  const weights = scope.upload(Float32Array.of(0, 1));
  const loss = mse(g, x, scope.zeros([2, 2]), { weights, total: 1 });
  assert.deepEqual(await gpu.read(loss), Float32Array.of(12.5));
  g.backward([loss]);
  assert.deepEqual(await gpu.read(g.grad(x)), Float32Array.of(0, 0, 3, 4));
});

gpuTest("mse refuses unequal shapes", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  assert.throws(
    () => mse(g, scope.zeros([2, 3]), scope.zeros([3, 2])),
    /TypeError: mse: x is \[2, 3\] but target is \[3, 2\]; expected \[N, D\] both/,
  );
});
