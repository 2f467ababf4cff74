/** Named layers: values of the formulas, initial values, names. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { Layers } from "../../models/layers.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import { layerNorm } from "../reference/layer_norm.ts";
import { linear } from "../reference/linear.ts";

gpuTest("Layers: linear and norm by name, with biases", async (gpu) => {
  using layers = new Layers(gpu, "head", 1);
  layers.addLinear("a", 6, 5);
  layers.addNorm("b", 5);
  assert.deepEqual(
    layers.parameters.map(({ name, tensor }) => [name, tensor.name, ...tensor.shape]),
    ["a.weight", "a.bias", "b.weight", "b.bias"].map((name, i) => [
      `head.${name}`,
      `head.${name}`,
      ...(i === 0 ? [5, 6] : [5]),
    ]),
  );
  layers.parameters.forEach(({ tensor }, i) => gpu.write(tensor, normals(i, tensor.size)));
  const [weight, bias, scale, shift] = [30, 5, 5, 5].map((n, i) => normals(i, n));
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const x = normals(9, 18);
  const y = layers.linear(g, "a", scope.upload(x, [3, 6]));
  const expected = linear({ x, weight, bias, m: 3, n: 5, k: 6 });
  assertClose(await gpu.read(y), expected, 1e-5, "linear");
  const normed = layerNorm(expected, Float64Array.from(scale), Float64Array.from(shift), 1e-5);
  assertClose(await gpu.read(layers.norm(g, "b", y)), normed, 1e-4, "norm");
});

gpuTest("Layers: initial values depend on seed and place, and are bounded", async (gpu) => {
  const first = async (seed: number) => {
    using layers = new Layers(gpu, "x", seed);
    layers.addLinear("a", 16, 3);
    layers.addLinear("b", 16, 3);
    return await Promise.all(layers.parameters.map(({ tensor }) => gpu.read(tensor)));
  };
  const [a, b, other] = [await first(1), await first(1), await first(2)];
  assert.deepEqual(a, b);
  assert.notDeepEqual(a[0], other[0]);
  assert.notDeepEqual(a[0], a[2]);
  assert.ok(a.flatMap((numbers) => [...numbers]).every((v) => Math.abs(v) <= 0.25));
});
