import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { add, sum } from "../../ops/add.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { add as reference } from "../reference/add.ts";

for (const shape of [[0, 4], [1], [7], [7, 257], [2, 3, 5]]) {
  for (const [alpha, beta] of [[1, 1], [0.5, -2], [1, 0]]) {
    gpuTest(`add [${shape}] with ${alpha} and ${beta}`, async (gpu) => {
      await checkOp(gpu, {
        inputs: { a: { shape }, b: { shape } },
        op: (g, { a, b }) => add(g, a, b, { alpha, beta }),
        reference: ({ a, b }) => reference(a, b, alpha, beta),
      });
    });
  }
}

gpuTest("add of a tensor to itself, several times over", async (gpu) => {
  await checkOp(gpu, {
    inputs: { a: { shape: [5, 3] }, b: { shape: [5, 3], parameter: true } },
    op: (g, { a, b }) => add(g, add(g, a, a, { beta: 3 }), add(g, b, a)),
    reference: ({ a, b }) => reference(reference(a, a, 1, 3), reference(b, a)),
  });
});

gpuTest("add with a gradient for one term", async (gpu) => {
  await checkOp(gpu, {
    inputs: { a: { shape: [7], grad: false }, b: { shape: [7] } },
    op: (g, { a, b }) => add(g, a, b),
    reference: ({ a, b }) => reference(a, b),
  });
});

gpuTest("sum of one and of three losses", async (gpu) => {
  await checkOp(gpu, {
    inputs: { a: { shape: [1] }, b: { shape: [1] }, c: { shape: [1] } },
    op: (g, { a, b, c }) => [
      sum(g, [{ x: a, weight: 2 }]),
      sum(g, [{ x: a, weight: 0.5 }, { x: b, weight: -1 }, { x: c, weight: 0 }]),
    ],
    reference: ({ a, b }) => [
      Float64Array.of(2 * a[0]),
      Float64Array.of(0.5 * a[0] - b[0]),
    ],
  });
});

gpuTest("add and sum refuse shapes that do not fit", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  assert.throws(() => add(g, scope.zeros([2, 3]), scope.zeros([6])), {
    name: "TypeError",
    message: "add: a is [2, 3] but b is [6]; expected one shape",
  });
  assert.throws(() => sum(g, []), {
    name: "TypeError",
    message: "sum: expected one or more tensors [1], got none",
  });
  assert.throws(() => sum(g, [{ x: scope.zeros([2]), weight: 1 }]), {
    name: "TypeError",
    message: "sum: expected one or more tensors [1], got [2]",
  });
});
