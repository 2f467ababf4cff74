import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { add } from "../../ops/add.ts";
import { rmsNorm } from "../../ops/rms_norm.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import { add as referenceAdd } from "../reference/add.ts";
import { rmsNorm as reference } from "../reference/rms_norm.ts";

// 4, 52 and 64 take the form for subgroups where the adapter has it, the others never do.
for (const rows of [0, 1, 7, 257]) {
  for (const dim of [1, 4, 7, 52, 64, 257]) {
    gpuTest(`rmsNorm [${rows}, ${dim}]`, async (gpu) => {
      await checkOp(gpu, {
        inputs: { x: { shape: [rows, dim] }, weight: { shape: [dim], parameter: true } },
        op: (g, { x, weight }) => rmsNorm(g, x, weight, 1e-5),
        reference: ({ x, weight }) => reference(x, weight, 1e-5),
        samples: 40,
      });
    });
  }
}

for (const trained of ["x", "weight"] as const) {
  for (const dim of [6, 8]) {
    gpuTest(`rmsNorm [5, ${dim}] with a gradient for ${trained} only`, async (gpu) => {
      await checkOp(gpu, {
        inputs: {
          x: { shape: [5, dim], grad: trained === "x" },
          weight: { shape: [dim], grad: trained === "weight" },
        },
        op: (g, { x, weight }) => rmsNorm(g, x, weight, 1e-6),
        reference: ({ x, weight }) => reference(x, weight, 1e-6),
      });
    });
  }
}

for (const dim of [6, 8]) {
  gpuTest(`rmsNorm [5, ${dim}] adds to a gradient that is there`, async (gpu) => {
    await checkOp(gpu, {
      inputs: { x: { shape: [5, dim] }, weight: { shape: [dim] } },
      op: (g, { x, weight }) => add(g, rmsNorm(g, x, weight, 1e-5), x),
      reference: ({ x, weight }) => referenceAdd(reference(x, weight, 1e-5), x),
    });
  });
}

gpuTest("rmsNorm of a row of zeros is zero", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const out = rmsNorm(g, scope.zeros([2, 8]), scope.upload(normals(1, 8)), 1e-5);
  assert.deepEqual((await gpu.read(out)).map(Math.abs), new Float32Array(16));
});

gpuTest("rmsNorm's gradients repeat bit for bit", async (gpu) => {
  const gradients = async () => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const x = g.watch(scope.upload(normals(2, 1000 * 64), [1000, 64]));
    const weight = g.watch(scope.upload(normals(3, 64)));
    g.backward([rmsNorm(g, x, weight, 1e-5), scope.upload(normals(4, 1000 * 64), [1000, 64])]);
    return [await gpu.read(g.grad(x)), await gpu.read(g.grad(weight))];
  };
  assert.deepEqual(await gradients(), await gradients());
});

gpuTest("rmsNorm refuses shapes that do not fit", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  assert.throws(() => rmsNorm(g, scope.zeros([2, 3]), scope.zeros([4]), 1e-5), {
    name: "TypeError",
    message: "rmsNorm: x is [2, 3] but weight is [4]; expected [N, D] and [D]",
  });
});
