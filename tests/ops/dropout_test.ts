/** Dropout: its mask, its gradient through an adapter, its statistics. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { dropout } from "../../ops/dropout.ts";
import { linear } from "../../ops/linear.ts";
import type { Words } from "../../ops/random.ts";
import { assertClose, checkOp, gpuTest, type Input } from "../check_op.ts";
import { normals } from "../random.ts";
import { dropout as reference } from "../reference/dropout.ts";
import { linear as linearReference } from "../reference/linear.ts";

const KEY: Words = [0xdeadbeef, 7];

for (const shape of [[1, 1], [7, 257], [0, 5], [257, 7]]) {
  for (const rate of [0, 0.1, 0.75]) {
    gpuTest(`dropout of ${rate} on [${shape}]: written, and added`, async (gpu) => {
      using scope = gpu.scope();
      const g = new Graph(gpu, scope);
      const numbers = normals(3, shape[0] * shape[1]);
      const before = normals(4, numbers.length);
      const [x, out] = [numbers, before].map((data) => scope.upload(data, shape));
      const expected = reference(numbers, rate, KEY);
      dropout(g, x, out, { rate, key: KEY }, true);
      assertClose(await gpu.read(out), expected.map((y, i) => y + before[i]), 1e-6, "added");
      dropout(g, x, out, { rate, key: KEY });
      const got = await gpu.read(out);
      assertClose(got, expected, 1e-6, "written");
      if (rate === 0) assert.deepEqual(got, numbers);
    });
  }
}

for (const { isFrozen, rate } of [{ isFrozen: true, rate: 0.3 }, { isFrozen: false, rate: 0.6 }]) {
  const what = isFrozen ? "a frozen" : "a trained";
  gpuTest(`dropout before an adapter on ${what} weight: value and every gradient`, async (gpu) => {
    const [m, n, k, rank, scale] = [9, 7, 13, 3, 0.75];
    const weight = normals(5, n * k);
    const inputs: Record<string, Input> = {
      x: { shape: [m, k] },
      a: { shape: [rank, k], parameter: true },
      b: { shape: [n, rank], parameter: true },
      bias: { shape: [n], parameter: true },
    };
    if (!isFrozen) inputs.weight = { shape: [n, k], data: weight, parameter: true };
    await checkOp<string>(gpu, {
      inputs,
      op: (g, { x, a, b, bias, weight: trained }) => {
        const lora = { a, b, scale, dropout: { rate, key: KEY } };
        return linear(g, x, trained ?? g.scope.upload(weight, [n, k]), { bias, lora });
      },
      reference: ({ x, a, b, bias, weight: trained = Float64Array.from(weight) }) => {
        const base = linearReference({ x, weight: trained, bias, m, n, k });
        const input = reference(x, rate, KEY);
        const none = new Float64Array(n * k);
        const own = linearReference({ x: input, weight: none, a, b, scale, m, n, k, rank });
        return base.map((y, i) => y + own[i]);
      },
    });
  });
}

gpuTest("dropout: the share that is dropped, neighbours and other keys", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const count = 400_000;
  const rate = 0.1;
  const ones = scope.upload(new Float32Array(count).fill(1), [1000, 400]);
  const dropped = async (key: Words) => {
    const out = scope.empty(ones.shape);
    dropout(g, ones, out, { rate, key });
    return (await gpu.read(out)).map((y) => Number(y === 0) - rate);
  };
  const [one, same, other] = [await dropped([1, 2]), await dropped([1, 2]), await dropped([1, 3])];
  assert.deepEqual(one, same);
  const variance = rate * (1 - rate);
  // Five standard errors of a mean, and of means of products.
  const near = (values: Float32Array, standardDeviation: number) => {
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
    assert.ok(Math.abs(mean) < 5 * standardDeviation / Math.sqrt(values.length), `${mean}`);
  };
  near(one, Math.sqrt(variance));
  near(other, Math.sqrt(variance));
  for (const distance of [1, 2, 3, 400]) {
    near(one.slice(distance).map((x, i) => x * one[i]), variance);
  }
  near(one.map((x, i) => x * other[i]), variance);
});

gpuTest("dropout refuses rates that are none, and another shape", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const x = scope.zeros([2, 3]);
  for (const rate of [1, -0.1, NaN]) {
    assert.throws(() => dropout(g, x, scope.empty([2, 3]), { rate, key: KEY }), {
      message: `dropout: rate must be at least 0 and below 1, got ${rate}`,
    });
  }
  const message = /dropout: x is \[2, 3\] but out is \[3, 2\]; expected the same shape$/;
  assert.throws(() => dropout(g, x, scope.empty([3, 2]), { rate: 0.5, key: KEY }), message);
});
