import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { add } from "../../ops/add.ts";
import { layerNorm } from "../../ops/layer_norm.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import { add as referenceAdd } from "../reference/add.ts";
import { layerNorm as reference } from "../reference/layer_norm.ts";

// 4, 52 and 64 take the form for subgroups where the adapter has it, the others never do.
for (const rows of [0, 1, 7, 257]) {
  for (const dim of [1, 4, 7, 52, 64, 257]) {
    gpuTest(`layerNorm [${rows}, ${dim}]`, async (gpu) => {
      await checkOp(gpu, {
        inputs: {
          x: { shape: [rows, dim] },
          weight: { shape: [dim], parameter: true },
          bias: { shape: [dim], parameter: true },
        },
        op: (g, { x, weight, bias }) => layerNorm(g, x, weight, bias, 1e-5),
        reference: ({ x, weight, bias }) => reference(x, weight, bias, 1e-5),
        samples: 40,
      });
    });
  }
}

for (const trained of ["x", "weight", "bias"] as const) {
  for (const dim of [6, 8]) {
    gpuTest(`layerNorm [5, ${dim}] with a gradient for ${trained} only`, async (gpu) => {
      await checkOp(gpu, {
        inputs: {
          x: { shape: [5, dim], grad: trained === "x" },
          weight: { shape: [dim], grad: trained === "weight" },
          bias: { shape: [dim], grad: trained === "bias" },
        },
        op: (g, { x, weight, bias }) => layerNorm(g, x, weight, bias, 1e-5),
        reference: ({ x, weight, bias }) => reference(x, weight, bias, 1e-5),
      });
    });
  }
}

for (const dim of [6, 8]) {
  gpuTest(`layerNorm [5, ${dim}] adds to a gradient that is there`, async (gpu) => {
    await checkOp(gpu, {
      inputs: { x: { shape: [5, dim] }, weight: { shape: [dim] }, bias: { shape: [dim] } },
      op: (g, { x, weight, bias }) => add(g, layerNorm(g, x, weight, bias, 1e-5), x),
      reference: ({ x, weight, bias }) => referenceAdd(reference(x, weight, bias, 1e-5), x),
    });
  });
}

gpuTest("layerNorm of a large offset keeps its precision", async (gpu) => {
  const data = normals(5, 3 * 64).map((x) => x + 100);
  await checkOp(gpu, {
    inputs: {
      x: { shape: [3, 64], data, grad: false },
      weight: { shape: [64] },
      bias: { shape: [64] },
    },
    op: (g, { x, weight, bias }) => layerNorm(g, x, weight, bias, 1e-5),
    reference: ({ x, weight, bias }) => reference(x, weight, bias, 1e-5),
  });
});

gpuTest("layerNorm refuses shapes that do not fit", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const [x, weight, bias] = [scope.zeros([2, 3]), scope.zeros([3]), scope.zeros([4])];
  assert.throws(() => layerNorm(g, x, weight, bias, 1e-5), {
    name: "TypeError",
    message: "layerNorm: x is [2, 3], weight [3], bias [4]; expected [N, D], [D], [D]",
  });
});
