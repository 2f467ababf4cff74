import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { concat } from "../../ops/concat.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { concat as reference } from "../reference/concat.ts";

for (const dim of [1, 7, 8]) {
  for (const rows of [[0, 0], [1, 0], [3, 5], [257, 1]]) {
    gpuTest(`concat of ${rows} rows of ${dim}`, async (gpu) => {
      await checkOp(gpu, {
        inputs: { a: { shape: [rows[0], dim] }, b: { shape: [rows[1], dim] } },
        op: (g, { a, b }) => concat(g, [a, b]),
        reference: ({ a, b }) => reference([a, b]),
      });
    });
  }

  gpuTest(`concat of one tensor twice and a constant, rows of ${dim}`, async (gpu) => {
    await checkOp(gpu, {
      inputs: { a: { shape: [3, dim] }, b: { shape: [2, dim], grad: false } },
      op: (g, { a, b }) => concat(g, [a, b, a, a]),
      reference: ({ a, b }) => reference([a, b, a, a]),
    });
  });
}

gpuTest("concat refuses nothing and rows that differ", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  assert.throws(() => concat(g, []), {
    name: "TypeError",
    message: "concat: got nothing; expected [N, D] f32, one D",
  });
  assert.throws(() => concat(g, [scope.zeros([1, 2]), scope.zeros([1, 3])]), {
    name: "TypeError",
    message: "concat: got [1, 2] [1, 3]; expected [N, D] f32, one D",
  });
});
