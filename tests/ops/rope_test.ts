import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { rope, ropeTables } from "../../ops/rope.ts";
import { checkOp, distance, gpuTest } from "../check_op.ts";
import * as reference from "../reference/rope.ts";

const llama32 = {
  rope_type: "llama3",
  factor: 32,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
};

for (
  const [rows, numHeads, headDim] of [[1, 1, 2], [7, 3, 10], [33, 2, 12], [257, 9, 64], [0, 2, 8]]
) {
  gpuTest(`rope: ${rows} tokens, ${numHeads} heads of ${headDim}`, async (gpu) => {
    const { cos, sin, inverseFrequencies } = ropeTables({ headDim, theta: 1e4, maxPositions: 300 });
    const positions = Uint32Array.from({ length: rows }, (_, n) => n * 37 % 300);
    await checkOp(gpu, {
      inputs: { x: { shape: [rows, numHeads * headDim] } },
      op: (g, { x }) => {
        const tables = {
          cos: g.scope.upload(cos, [300, headDim / 2]),
          sin: g.scope.upload(sin, [300, headDim / 2]),
        };
        const ids = g.scope.upload(positions);
        return rope(g, x, tables, ids, { numHeads, headDim });
      },
      reference: ({ x }) => reference.rope(x, positions, inverseFrequencies, numHeads),
      samples: 24,
    });
  });
}

Deno.test("ropeTables: llama3 keeps short waves, stretches long ones and blends between", () => {
  const config = { headDim: 64, theta: 5e5, maxPositions: 1 };
  const plain = ropeTables(config).inverseFrequencies;
  const scaled = ropeTables({ ...config, scaling: llama32 }).inverseFrequencies;
  let blended = 0;
  plain.forEach((f, i) => {
    const wavelength = 2 * Math.PI / f;
    if (wavelength < 8192 / 4) assert.equal(scaled[i], f);
    else if (wavelength > 8192) assert.ok(Math.abs(scaled[i] * 32 / f - 1) < 1e-15);
    else {
      blended++;
      const smooth = (8192 / wavelength - 1) / 3; // transformers, _compute_llama3_parameters
      assert.ok(Math.abs(scaled[i] / ((1 - smooth) * f / 32 + smooth * f) - 1) < 1e-14);
    }
  });
  assert.ok(blended > 0);
  assert.equal(plain[1], 5e5 ** (-1 / 32));
});

Deno.test("ropeTables: the angle is exact at far positions", () => {
  const { cos, sin, inverseFrequencies } = ropeTables({
    headDim: 8,
    theta: 1e4,
    maxPositions: 5000,
  });
  const at = [0, 1, 2, 3].map((i) => 4999 * inverseFrequencies[i]);
  assert.ok(distance(cos.subarray(4999 * 4), at.map(Math.cos)) < 1e-7);
  assert.ok(distance(sin.subarray(4999 * 4), at.map(Math.sin)) < 1e-7);
});

Deno.test("ropeTables: other scalings and odd heads are refused", () => {
  const make = (headDim: number, scaling: { rope_type: string }) => () =>
    ropeTables({ headDim, theta: 1e4, maxPositions: 1, scaling });
  assert.doesNotThrow(make(8, { rope_type: "default" }));
  assert.throws(
    make(8, { rope_type: "yarn" }),
    /rope_type 'yarn' is not supported \(supported: default, llama3\)/,
  );
  assert.throws(make(8, { ...llama32, factor: undefined } as never), /needs a number 'factor'/);
  assert.throws(
    make(7, { rope_type: "default" }),
    /RangeError: rope: head_dim must be even, got 7/,
  );
});

gpuTest("rope: a wrong shape is refused", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const tables = { cos: scope.zeros([9, 4]), sin: scope.zeros([9, 4]) };
  const ids = scope.zeros([3], "u32");
  const run = (columns: number, headDim: number) => () =>
    rope(g, scope.zeros([3, columns]), tables, ids, { numHeads: 2, headDim });
  assert.throws(run(8, 8), /TypeError: rope: x is \[3, 8\] with 3 positions, expected \[3, 16\]/);
  assert.throws(
    run(8, 4),
    /TypeError: rope: the tables are \[9, 4\] and \[9, 4\], expected \[P, 2\]/,
  );
});
