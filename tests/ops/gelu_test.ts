import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { add } from "../../ops/add.ts";
import { gelu } from "../../ops/gelu.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import { add as referenceAdd } from "../reference/add.ts";
import { geluErf, geluTanh, normalCdf } from "../reference/gelu.ts";

const references = { erf: geluErf, tanh: geluTanh };

for (const kind of ["erf", "tanh"] as const) {
  const reference = references[kind];
  for (const shape of [[0, 3], [1], [7], [7, 257], [3, 5, 2]]) {
    gpuTest(`gelu ${kind} [${shape}]`, async (gpu) => {
      const size = shape.reduce((a, b) => a * b);
      await checkOp(gpu, {
        inputs: { x: { shape, data: normals(21, size, 2) } },
        op: (g, { x }) => gelu(g, x, kind),
        reference: ({ x }) => reference(x),
      });
    });
  }

  gpuTest(`gelu ${kind} adds to a gradient that is there`, async (gpu) => {
    await checkOp(gpu, {
      inputs: { x: { shape: [7] } },
      op: (g, { x }) => add(g, gelu(g, x, kind), x),
      reference: ({ x }) => referenceAdd(reference(x), x),
    });
  });

  gpuTest(`gelu ${kind} is as good as float32 from -12 to 12`, async (gpu) => {
    using scope = gpu.scope();
    const x = Float32Array.from({ length: 24001 }, (_, i) => (i - 12000) / 1000);
    const got = await gpu.read(gelu(new Graph(gpu, scope), scope.upload(x), kind));
    const expected = reference(Float64Array.from(x));
    const worst = Math.max(
      ...x.map((v, i) => Math.abs(got[i] - expected[i]) / Math.max(1, Math.abs(v))),
    );
    assert.ok(worst < 2e-7, `off by ${worst} times max(1, |x|)`);
  });

  gpuTest(`gelu ${kind} of large numbers is finite`, async (gpu) => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const x = g.watch(scope.upload(Float32Array.of(50, -50, 1e4, -1e4, 1e30, -1e30)));
    const out = gelu(g, x, kind);
    g.backward([out]);
    const close = (got: Float32Array, expected: number[]) =>
      expected.forEach((e, i) =>
        assert.ok(Math.abs(got[i] - e) <= 1e-6 * Math.max(1, e), `${got}`)
      );
    close(await gpu.read(out), [50, 0, 1e4, 0, 1e30, 0]);
    close(await gpu.read(g.grad(x)), [1, 0, 1, 0, 1, 0]);
  });
}

// Values of the normal distribution: Abramowitz and Stegun, table 26.1.
Deno.test("the reference's normal distribution", () => {
  for (
    const [x, p] of [[0, 0.5], [1, 0.841344746068543], [2, 0.977249868051821], [
      -3,
      0.001349898031630,
    ]]
  ) {
    assert.ok(Math.abs(normalCdf(x) - p) < 1e-14);
  }
  assert.ok(Math.abs(normalCdf(6) - normalCdf(6.0000000001)) < 1e-15);
});
