/** The projector against float64 loops of its formula, with and without its norm. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { LatentProjector } from "../../models/latent_projector.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import { geluErf } from "../reference/gelu.ts";
import { layerNorm } from "../reference/layer_norm.ts";
import { linear } from "../reference/linear.ts";

for (const hasNorm of [false, true]) {
  gpuTest(`LatentProjector: values of the formula, norm ${hasNorm}`, async (gpu) => {
    const sizes = { hiddenSize: 12, intermediateSize: 20, seed: 4 };
    using projector = new LatentProjector(gpu, { ...sizes, layerNorm: hasNorm });
    const names = ["0.weight", "0.bias", "2.weight", "2.bias"];
    if (hasNorm) names.push("ln.weight", "ln.bias");
    assert.deepEqual(
      projector.parameters.map(({ name }) => name),
      names.map((name) => `latent_proj.proj.${name}`),
    );
    const values = projector.parameters.map(({ tensor }, i) => normals(i, tensor.size, 0.5));
    projector.parameters.forEach(({ tensor }, i) => gpu.write(tensor, values[i]));
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const x = normals(99, 36);
    const z = projector.forward(g, scope.upload(x, [3, 12]));
    const [w0, b0, w2, b2, scale, shift] = values;
    const inner = geluErf(linear({ x, weight: w0, bias: b0, m: 3, n: 20, k: 12 }));
    const outer = linear({ x: inner, weight: w2, bias: b2, m: 3, n: 12, k: 20 });
    const expected = hasNorm
      ? layerNorm(outer, Float64Array.from(scale), Float64Array.from(shift), 1e-5)
      : outer;
    assertClose(await gpu.read(z), expected, 1e-5, "z");
    assert.ok(g.needsGrad(z));
  });
}
