import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { concat } from "../../ops/concat.ts";
import { slice } from "../../ops/slice.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { concat as referenceConcat } from "../reference/concat.ts";
import { slice as reference } from "../reference/slice.ts";

for (const dim of [1, 7, 8]) {
  for (const [begin, end] of [[0, 9], [3, 4], [1, 8], [5, 5], [9, 9]]) {
    gpuTest(`slice of rows ${begin} to ${end} of [9, ${dim}]`, async (gpu) => {
      await checkOp(gpu, {
        inputs: { x: { shape: [9, dim] } },
        op: (g, { x }) => slice(g, x, begin, end),
        reference: ({ x }) => reference(x, dim, begin, end),
      });
    });
  }

  gpuTest(`slices of [9, ${dim}] that overlap`, async (gpu) => {
    await checkOp(gpu, {
      inputs: { x: { shape: [9, dim] } },
      op: (g, { x }) => concat(g, [slice(g, x, 1, 6), slice(g, x, 3, 9)]),
      reference: ({ x }) => referenceConcat([reference(x, dim, 1, 6), reference(x, dim, 3, 9)]),
    });
  });
}

gpuTest("slice refuses rows that are not there", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  assert.throws(() => slice(g, scope.zeros([3, 2]), 2, 4), {
    name: "RangeError",
    message: "rows 2 to 4 are not in [3, 2]",
  });
  assert.throws(() => slice(g, scope.zeros([3]), 0, 1), {
    name: "TypeError",
    message: "slice: x is [3]; expected [N, D] f32",
  });
});
