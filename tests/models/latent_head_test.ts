/** The latent head against float64 loops of its formula; names, initial values, the deterministic form. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { LatentHead } from "../../models/latent_head.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";

const SIZES = { hiddenSize: 12, intermediateSize: 20, seed: 4 };
const NAMES = ["fc.0", "fc.2", "fc.3", "mean", "log_std"]
  .flatMap((name) => [`latent_policy.${name}.weight`, `latent_policy.${name}.bias`]);

gpuTest("LatentHead: values of the formula, published names", async (gpu) => {
  using head = new LatentHead(gpu, { ...SIZES, deterministic: false });
  assert.deepEqual(head.parameters.map(({ name }) => name), NAMES);
  const values = new Map<string, Float32Array>();
  for (const [i, { name, tensor }] of head.parameters.entries()) {
    const data = normals(i, tensor.size, 0.5);
    gpu.write(tensor, data);
    values.set(name.slice("latent_policy.".length), data);
  }
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const x = normals(99, 3 * 12);
  const { mean, logStd } = head.forward(g, scope.upload(x, [3, 12]));
  const expected = [0, 1, 2].map((row) =>
    reference(values, [...x.subarray(12 * row, 12 * row + 12)])
  );
  assertClose(await gpu.read(mean), expected.flatMap((e) => e.mean), 1e-5, "mean");
  assertClose(await gpu.read(logStd), expected.flatMap((e) => e.logStd), 1e-5, "log_std");
});

function reference(values: ReadonlyMap<string, Float32Array>, x: number[]) {
  const linear = (name: string, input: number[]) => {
    const [w, b] = [values.get(`${name}.weight`)!, values.get(`${name}.bias`)!];
    return [...b].map((bias, i) =>
      input.reduce((sum, v, j) => sum + v * w[i * input.length + j], bias)
    );
  };
  const outer = linear("fc.2", linear("fc.0", x).map((v) => v * (1 + erf(v / Math.SQRT2)) / 2));
  const center = outer.reduce((a, b) => a + b) / outer.length;
  const variance = outer.reduce((sum, v) => sum + (v - center) ** 2, 0) / outer.length;
  const [w, b] = [values.get("fc.3.weight")!, values.get("fc.3.bias")!];
  const h = outer.map((v, i) => (v - center) / Math.sqrt(variance + 1e-5) * w[i] + b[i]);
  return { mean: linear("mean", h), logStd: linear("log_std", h) };
}

/** Error function by its series around 0, to float64 for |x| < 5. */
function erf(x: number): number {
  let [term, sum] = [x, x];
  for (let n = 1; n < 200; n++) {
    term *= -x * x / n;
    sum += term / (2 * n + 1);
  }
  return 2 / Math.sqrt(Math.PI) * sum;
}

gpuTest(
  "LatentHead: initial values of torch.nn.Linear and LayerNorm, keyed by the seed",
  async (gpu) => {
    using head = new LatentHead(gpu, { ...SIZES, deterministic: false });
    using same = new LatentHead(gpu, { ...SIZES, deterministic: false });
    using other = new LatentHead(gpu, { ...SIZES, deterministic: false, seed: 5 });
    const seen = new Set<number>();
    for (const [i, { name, tensor }] of head.parameters.entries()) {
      const data = await gpu.read(tensor);
      assert.deepEqual(await gpu.read(same.parameters[i].tensor), data);
      if (name.includes("fc.3")) {
        assert.ok(data.every((v) => v === (name.endsWith("weight") ? 1 : 0)));
        continue;
      }
      assert.notDeepEqual(await gpu.read(other.parameters[i].tensor), data);
      const bound = 1 / Math.sqrt(name.includes("fc.0") ? 12 : 20);
      assert.ok(data.every((v) => Math.abs(v) <= bound), name);
      const spread = Math.sqrt(data.reduce((sum, v) => sum + v * v, 0) / data.length) / bound;
      assert.ok(spread > 0.35 && spread < 0.8, `${name}: ${spread}, expected near 0.577`);
      seen.add(data[0] / bound);
    }
    assert.equal(seen.size, 8, "every tensor has numbers of its own");
  },
);

gpuTest("LatentHead: deterministic has no log_std and the standard deviation 1e-9", async (gpu) => {
  using head = new LatentHead(gpu, { ...SIZES, deterministic: true });
  assert.deepEqual(head.parameters.map(({ name }) => name), NAMES.slice(0, -2));
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const { logStd } = head.forward(g, scope.upload(normals(1, 24), [2, 12]));
  assert.deepEqual(logStd.shape, [2, 12]);
  assert.ok((await gpu.read(logStd)).every((v) => Math.abs(v - Math.log(1e-9)) < 1e-5));
  assert.equal(g.needsGrad(logStd), false);
});
