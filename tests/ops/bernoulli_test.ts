import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { bernoulliLogProb } from "../../ops/bernoulli.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import * as reference from "../reference/bernoulli.ts";

for (const size of [0, 1, 7, 257]) {
  gpuTest(`bernoulliLogProb [${size}]`, async (gpu) => {
    const data = normals(size + 1, size).map((x) => -0.01 - 3 * Math.abs(x));
    const happened = Uint32Array.from(data, (_, i) => i % 3 === 0 ? 1 : 0);
    await checkOp(gpu, {
      inputs: { logProb: { shape: [size], data } },
      op: (g, { logProb }) => bernoulliLogProb(g, logProb, happened),
      reference: ({ logProb }) => reference.bernoulliLogProb(logProb, happened),
      step: 1e-6,
    });
  });
}

gpuTest("bernoulliLogProb is exact from p near 0 to p near 1, and finite at 1", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const data = Float32Array.of(-80, -12, -5, -4.6, -0.7, -0.051, -0.049, -1e-3, -1e-6, 0);
  const logProb = g.watch(scope.upload(data));
  const out = bernoulliLogProb(g, logProb, new Uint32Array(data.length));
  g.backward([out]);
  const [values, gradient] = [await gpu.read(out), await gpu.read(g.grad(logProb))];
  const allowed = gpu.isSoftware ? 3e-6 : 3e-5; // a GPU's exp and log are good to a few ulp only
  data.slice(0, -1).forEach((x, i) => {
    const expected = Math.log1p(-Math.exp(x));
    const exact = x > -0.7 ? Math.log(-Math.expm1(x)) : expected;
    const slope = Math.exp(x) / Math.expm1(x);
    assert.ok(
      Math.abs(values[i] - exact) <= allowed * Math.abs(exact),
      `${x}: ${values[i]} ${exact}`,
    );
    assert.ok(Math.abs(gradient[i] - slope) <= allowed * Math.abs(slope), `${x}: ${gradient[i]}`);
  });
  assert.ok(Math.abs(values.at(-1)! + 24 * Math.LN2) < 1e-4);
  assert.ok(Number.isFinite(gradient.at(-1)));
});

gpuTest("bernoulliLogProb refuses another number of outcomes", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  assert.throws(
    () => bernoulliLogProb(g, scope.zeros([2]), new Uint32Array(3)),
    /TypeError: bernoulliLogProb: logProb is \[2\] for 3 outcomes; expected \[N\] both/,
  );
});
