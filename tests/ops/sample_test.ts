import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import { type FilterOptions, filterProbabilities, greedy, sample } from "../../ops/sample.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import { draw, filterProbabilities as reference } from "../reference/sample.ts";

const FILTERS: readonly FilterOptions[] = [
  {},
  { temperature: 0.7, topK: 5 },
  { topP: 0.9 },
  { topP: 0.1, temperature: 1.3 },
  { topK: 50, topP: 0.9, temperature: 0.8 },
  { topK: 1 },
  { topP: 0 },
];

async function probabilitiesOf(
  gpu: Gpu,
  logits: Float32Array,
  shape: readonly number[],
  options: FilterOptions,
): Promise<Float32Array> {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  return await gpu.read(filterProbabilities(g, scope.upload(logits, shape), options));
}

// Each of the sizes of a workgroup is among these: 8, 64 and 256 lanes.
const SMALL = [[0, 7], [5, 1], [3, 2], [4, 31], [2, 514], [1, 5000]];
const LARGE = [[2, 10_001], [1, 152_064]];

for (const [rows, vocab] of [...SMALL, ...LARGE]) {
  gpuTest(`filterProbabilities of ${rows} rows, V ${vocab}`, async (gpu) => {
    const logits = normals(vocab, rows * vocab, 2);
    for (const options of FILTERS) {
      const got = await probabilitiesOf(gpu, logits, [rows, vocab], options);
      for (let r = 0; r < rows; r++) {
        const expected = reference(logits.subarray(r * vocab, (r + 1) * vocab), {
          temperature: options.temperature,
          topK: options.topK,
          topP: options.topP,
        });
        const row = got.subarray(r * vocab, (r + 1) * vocab);
        const label = JSON.stringify(options);
        const kept = (p: ArrayLike<number>) => Array.from(p).filter((x) => x > 0).length;
        // In that many numbers float32 sums may put the edge of top-p a few tokens elsewhere.
        const slack = vocab > 10_000 && options.topP !== undefined && !options.topK ? 3 : 0;
        assert.ok(Math.abs(kept(row) - kept(expected)) <= slack, `kept with ${label}`);
        assertClose(row, expected, 5e-6, label);
      }
    }
  });
}

gpuTest("equal logits: top-k keeps all ties, top-p the lowest ids", async (gpu) => {
  const logits = Float32Array.of(1, 3, 1, 3, -2, 3, 1, 0);
  const kept = async (options: FilterOptions) => {
    const p = await probabilitiesOf(gpu, logits, [1, 8], options);
    return [...p.keys()].filter((id) => p[id] > 0);
  };
  assert.deepEqual(await kept({ topK: 2 }), [1, 3, 5]);
  assert.deepEqual(await kept({ topK: 4 }), [0, 1, 2, 3, 5, 6]);
  assert.deepEqual(await kept({ topP: 0.5 }), [1, 3]);
  assert.deepEqual(await kept({ topP: 0 }), [1]);
  assert.deepEqual(await kept({ topP: 0.93 }), [0, 1, 2, 3, 5]);
  const zeros = await probabilitiesOf(gpu, Float32Array.of(0, -0, 1, -1), [1, 4], { topK: 2 });
  assert.deepEqual([...zeros.keys()].filter((id) => zeros[id] > 0), [0, 1, 2]);
  const flat = await probabilitiesOf(gpu, new Float32Array(97), [1, 97], { topP: 0.9 });
  assert.deepEqual(flat.map((p) => Number(p > 0)), new Float32Array(97).fill(1, 0, 88));
  assertClose(flat.subarray(0, 88), new Float32Array(88).fill(1 / 88), 1e-8, "equal shares");
});

gpuTest("suppressed ids, infinite logits, padding columns", async (gpu) => {
  const logits = Float32Array.of(9, 1, -Infinity, 0.5, 2, NaN, 3, 0, 1, 8, 4, NaN);
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const x = scope.upload(logits, [2, 6]);
  for (const suppressed of [[0, 3], scope.upload(Uint32Array.of(0, 3))]) {
    for (const filter of FILTERS) {
      const got = await gpu.read(
        filterProbabilities(g, x, { ...filter, vocab: 5, suppressed }),
      );
      for (let r = 0; r < 2; r++) {
        const expected = reference(logits.subarray(6 * r, 6 * r + 5), {
          temperature: filter.temperature,
          topK: filter.topK,
          topP: filter.topP,
          suppressed: [0, 3],
        });
        assertClose(got.subarray(5 * r, 5 * r + 5), expected, 2e-6, JSON.stringify(filter));
      }
    }
    const best = greedy(g, x, { vocab: 5, suppressed });
    assert.deepEqual(await gpu.readback(best.tokens).data(), Uint32Array.of(4, 4));
  }
});

for (const vocab of [1, 7, 97, 514]) {
  gpuTest(`sample over all u, V ${vocab}`, async (gpu) => {
    const count = 1000;
    const row = normals(vocab, vocab, 1.5);
    const u = Float32Array.from({ length: count }, (_, i) => i / count);
    u[count - 1] = 1 - 2 ** -24;
    using scope = gpu.scope();
    const g = new Graph(gpu, scope, { training: false });
    const logits = scope.upload(
      Float32Array.from({ length: count * vocab }, (_, i) => row[i % vocab]),
      [count, vocab],
    );
    const full = reference(row, {});
    for (const options of FILTERS) {
      const { temperature, topK, topP } = options;
      const p = reference(row, { temperature, topK, topP });
      const choice = sample(g, logits, scope.upload(u), options);
      const tokens = await gpu.readback(choice.tokens).data();
      const expected = Array.from(u, (u) => draw(p, u));
      tokens.forEach((token, i) => {
        if (token === expected[i]) return;
        // Only where u is within rounding of a cumulative probability, and never to a dropped token.
        assert.ok(
          draw(p, u[i] - 2e-6) === token || draw(p, Math.min(u[i] + 2e-6, 1 - 1e-12)) === token,
        );
      });
      const logProbs = (p: Float64Array) => Float64Array.from(tokens, (id) => Math.log(p[id]));
      assertClose(await gpu.read(choice.logProb), logProbs(p), 2e-6, "logProb");
      assertClose(await gpu.read(choice.fullLogProb), logProbs(full), 2e-6, "fullLogProb");
    }
  });
}

gpuTest("sample takes the last kept id where u is beyond the rounded total", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const logits = scope.upload(Float32Array.of(0, 1, 2, 3, -9, -9, 0, 1, 2, 3, -9, -9), [2, 6]);
  const choice = sample(g, logits, scope.upload(Float32Array.of(1, 2)), { topK: 4 });
  assert.deepEqual(await gpu.readback(choice.tokens).data(), Uint32Array.of(3, 3));
});

gpuTest("greedy takes the lowest id of equal ones", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const row = normals(3, 5000);
  const at = [4999, 17, 800];
  for (const id of at) row[id] = 9;
  const choice = greedy(g, scope.upload(row, [1, 5000]));
  assert.deepEqual(await gpu.readback(choice.tokens).data(), Uint32Array.of(17));
  assert.deepEqual(await gpu.read(choice.logProb), Float32Array.of(0));
  const expected = Math.log(reference(row, {})[17]);
  assertClose(await gpu.read(choice.fullLogProb), [expected], 2e-6, "fullLogProb");
  const none = greedy(g, scope.upload(new Float32Array(0), [0, 5]));
  assert.equal((await gpu.readback(none.tokens).data()).length, 0);
});

gpuTest("sample refuses what is out of range", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const [logits, u] = [scope.zeros([2, 3]), scope.zeros([2])];
  const of = (options: FilterOptions) => () => sample(g, logits, u, options);
  assert.throws(of({ temperature: 0 }), /RangeError: sample: temperature must be above 0, got 0/);
  assert.throws(of({ topK: -1 }), /RangeError: sample: topK must be .* got -1/);
  assert.throws(of({ topP: 1.5 }), /RangeError: sample: topP must be from 0 to 1 .* got 1.5/);
  assert.throws(of({ suppressed: [3] }), /RangeError: sample: suppressed id 3 is not below/);
  assert.throws(of({ suppressed: [0, 1, 2] }), /RangeError: sample: all 3 tokens are suppressed/);
  assert.throws(of({ vocab: 4 }), /TypeError: sample: logits are \[2, 3\]; expected \[B, S\]/);
  assert.throws(() => sample(g, logits, scope.zeros([3])), /TypeError: sample: uniforms are \[3\]/);
  assert.throws(() => greedy(g, g.watch(logits)), /TypeError: greedy has no gradient/);
});
