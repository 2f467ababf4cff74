import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { smoothDistance, smoothL1 } from "../../ops/smooth_l1.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { uniforms } from "../random.ts";
import { rowMean } from "../reference/row_mean.ts";
import { smoothDistance as reference } from "../reference/smooth_l1.ts";

for (const [rows, dim, beta] of [[0, 5, 1], [1, 1, 1], [7, 257, 1], [257, 7, 0.3], [9, 64, 0]]) {
  const inputs = { x: { shape: [rows, dim] }, target: { shape: [rows, dim] } };

  gpuTest(`smoothL1 and smoothDistance [${rows}, ${dim}], beta ${beta}`, async (gpu) => {
    await checkOp(gpu, {
      inputs,
      op: (g, { x, target }) => [
        smoothL1(g, x, target, beta),
        smoothDistance(g, x, target, beta),
      ],
      reference: ({ x, target }) => {
        const perRow = reference(x, target, rows, beta);
        return [rowMean(perRow), perRow];
      },
    });
  });

  gpuTest(`smoothL1 with row weights [${rows}, ${dim}], beta ${beta}`, async (gpu) => {
    const next = uniforms(rows + dim);
    const weights = Float32Array.from({ length: rows }, () => next() < 0.4 ? 0 : next());
    const total = weights.reduce((sum, w) => sum + w, 0);
    await checkOp(gpu, {
      inputs,
      op: (g, { x, target }) =>
        smoothL1(g, x, target, beta, { weights: g.scope.upload(weights), total }),
      reference: ({ x, target }) => rowMean(reference(x, target, rows, beta), weights),
    });
  });
}

gpuTest("smoothL1 of equal numbers has value and gradient 0, for beta 0, too", async (gpu) => {
  for (const beta of [0, 1]) {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const x = g.watch(scope.zeros([2, 3]));
    const loss = smoothL1(g, x, scope.zeros([2, 3]), beta);
    g.backward([loss]);
    assert.deepEqual(await gpu.read(loss), Float32Array.of(0));
    assert.deepEqual(await gpu.read(g.grad(x)), new Float32Array(6));
  }
});

gpuTest("smoothL1 refuses unequal shapes and a negative beta", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const x = scope.zeros([2, 3]);
  assert.throws(
    () => smoothL1(g, x, scope.zeros([3, 2])),
    /TypeError: smoothL1: x is \[2, 3\] but target is \[3, 2\]; expected \[N, D\] both/,
  );
  assert.throws(() => smoothL1(g, x, x, -1), /RangeError: smoothL1: beta must be .* got -1/);
});
