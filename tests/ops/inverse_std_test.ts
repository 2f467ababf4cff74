import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { inverseStd } from "../../ops/inverse_std.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import { inverseStd as reference } from "../reference/inverse_std.ts";

for (const [rows, dim, groupRows] of [[1, 2, 1], [7, 257, 7], [6, 33, 2], [257, 7, 257]] as const) {
  gpuTest(`inverseStd [${rows}, ${dim}] in groups of ${groupRows}`, async (gpu) => {
    for (const [scale, shift] of [[1, 0], [0.02, 5]]) {
      const data = normals(rows + dim, rows * dim, scale).map((v) => v + shift);
      await checkOp(gpu, {
        inputs: { x: { shape: [rows, dim], data, grad: false } },
        op: (g, { x }) => inverseStd(g, x, groupRows),
        reference: ({ x }) => reference(x, rows, groupRows),
        tolerance: scale === 1 ? 2e-5 : 2e-3, // 5 +- 0.02 in f32 keeps five digits of the deviation
      });
    }
  });
}

gpuTest("inverseStd refuses a gradient, a torn group and a single number", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  assert.throws(() => inverseStd(g, g.watch(scope.zeros([2, 4])), 2), {
    name: "TypeError",
    message: "inverseStd has no gradient, but [2, 4] needs one: stopGradient it",
  });
  assert.throws(() => inverseStd(g, scope.zeros([3, 4]), 2), {
    name: "RangeError",
    message:
      "inverseStd: x is [3, 4] in groups of 2 rows; expected whole groups of two numbers or more",
  });
  assert.throws(() => inverseStd(g, scope.zeros([2, 1]), 1), RangeError);
});
