import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { add } from "../../ops/add.ts";
import { swiglu } from "../../ops/swiglu.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import { add as referenceAdd } from "../reference/add.ts";
import { swiglu as reference } from "../reference/swiglu.ts";

for (const shape of [[0, 8], [1, 1], [1, 7], [7, 1], [7, 257], [257, 7]]) {
  gpuTest(`swiglu [${shape}]`, async (gpu) => {
    const size = shape[0] * shape[1];
    await checkOp(gpu, {
      inputs: { gate: { shape, data: normals(11, size, 3) }, up: { shape } },
      op: (g, { gate, up }) => swiglu(g, gate, up),
      reference: ({ gate, up }) => reference(gate, up),
    });
  });
}

for (const trained of ["gate", "up"] as const) {
  gpuTest(`swiglu with a gradient for ${trained} only`, async (gpu) => {
    await checkOp(gpu, {
      inputs: {
        gate: { shape: [5, 3], grad: trained === "gate" },
        up: { shape: [5, 3], grad: trained === "up" },
      },
      op: (g, { gate, up }) => swiglu(g, gate, up),
      reference: ({ gate, up }) => reference(gate, up),
    });
  });
}

gpuTest("swiglu adds to gradients that are there", async (gpu) => {
  await checkOp(gpu, {
    inputs: { gate: { shape: [5, 3] }, up: { shape: [5, 3] } },
    op: (g, { gate, up }) => add(g, swiglu(g, gate, up), add(g, gate, up)),
    reference: ({ gate, up }) => referenceAdd(reference(gate, up), referenceAdd(gate, up)),
  });
});

gpuTest("swiglu of large gates is finite", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const values = Float32Array.of(100, -100, 1e4, -1e4, 1e30, -1e30);
  const gate = g.watch(scope.upload(values));
  const out = swiglu(g, gate, scope.upload(new Float32Array(6).fill(1)));
  g.backward([out]);
  const close = (got: Float32Array, expected: number[]) =>
    expected.forEach((e, i) => assert.ok(Math.abs(got[i] - e) <= 1e-6 * Math.max(1, e), `${got}`));
  close(await gpu.read(out), [100, 0, 1e4, 0, 1e30, 0]);
  close(await gpu.read(g.grad(gate)), [1, 0, 1, 0, 1, 0]);
});

gpuTest("swiglu refuses shapes that differ and one tensor twice", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const x = scope.zeros([2, 3]);
  assert.throws(() => swiglu(g, x, scope.zeros([3, 2])), {
    name: "TypeError",
    message: "swiglu: gate is [2, 3] but up is [3, 2]; expected one shape",
  });
  assert.throws(() => swiglu(g, x, x), {
    name: "TypeError",
    message: "swiglu: gate and up are the same tensor [2, 3]; copy one",
  });
});
