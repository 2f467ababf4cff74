import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { add } from "../../ops/add.ts";
import { compress, compressGroups } from "../../ops/compress.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { add as referenceAdd } from "../reference/add.ts";
import { compress as reference } from "../reference/compress.ts";

const groups = {
  "one token each": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  "of 5 and 4": [0, 5, 9],
  "with empty ones, not all tokens": [1, 1, 3, 3, 8, 8],
  "none": [4],
};

for (const [name, list] of Object.entries(groups)) {
  for (const dim of [1, 7, 8, 257]) {
    for (const sqrtMean of [true, false]) {
      const how = sqrtMean ? "sqrt mean" : "mean";
      gpuTest(`compress [9, ${dim}] by ${how}, groups ${name}`, async (gpu) => {
        const offsets = Uint32Array.from(list);
        await checkOp(gpu, {
          inputs: { x: { shape: [9, dim] } },
          op: (g, { x }) => compress(g, x, offsets, { sqrtMean }),
          reference: ({ x }) => reference(x, dim, offsets, sqrtMean),
        });
      });
    }
  }
}

gpuTest("compress by prepared groups adds to a gradient that is there", async (gpu) => {
  const offsets = Uint32Array.of(0, 1, 2, 4);
  using lists = gpu.scope();
  const prepared = compressGroups(lists, offsets, 4);
  await checkOp(gpu, {
    inputs: { x: { shape: [4, 6] } },
    op: (g, { x }) =>
      add(
        g,
        compress(g, x, prepared, { sqrtMean: true }),
        compress(g, x, prepared, { sqrtMean: false }),
      ),
    reference: ({ x }) =>
      referenceAdd(reference(x, 6, offsets, true), reference(x, 6, offsets, false)),
  });
});

gpuTest("compress refuses offsets that do not fit", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const rule = "compress: offsets must be one or more numbers that rise to at most 3 tokens, got ";
  for (const [offsets, got] of [[[0, 4], "4"], [[0, 2, 1, 3], "2, 1"], [[], "none"]] as const) {
    assert.throws(
      () => compress(g, scope.zeros([3, 2]), Uint32Array.from(offsets), { sqrtMean: true }),
      { name: "RangeError", message: rule + got },
    );
  }
});
