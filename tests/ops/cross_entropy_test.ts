import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { kernel } from "../../gpu/kernel.ts";
import forwardSource from "../../kernels/cross_entropy_forward.wgsl" with { type: "text" };
import { crossEntropy, logits, logProbs } from "../../ops/cross_entropy.ts";
import { assertClose, checkOp, gpuTest } from "../check_op.ts";
import { narrowed } from "../narrowed.ts";
import { normals, uniforms } from "../random.ts";
import { logProbs as reference } from "../reference/cross_entropy.ts";
import { rowMean } from "../reference/row_mean.ts";

const labelsOf = (count: number, vocab: number): Uint32Array => {
  const next = uniforms(count + vocab);
  return Uint32Array.from({ length: count }, () => Math.floor(next() * vocab));
};
const SMALL = 1; // bytes of logits: tiles of 64 rows, the fewest

const SIZES = [[0, 4, 31], [1, 5, 1], [1, 4, 5000], [7, 8, 31], [257, 3, 7], [130, 8, 514]];

for (const [count, dim, vocab] of [...SIZES, [9, 12, 257]]) {
  const labels = labelsOf(count, vocab);
  const inputs = {
    hidden: { shape: [count, dim] },
    weight: { shape: [vocab, dim], parameter: true },
  };

  gpuTest(`crossEntropy and logProbs of ${count} rows, D ${dim}, V ${vocab}`, async (gpu) => {
    for (const maxLogitBytes of [undefined, SMALL]) {
      await checkOp(gpu, {
        inputs,
        op: (g, { hidden, weight }) => [
          crossEntropy(g, hidden, weight, labels, { maxLogitBytes }),
          logProbs(g, hidden, weight, g.scope.upload(labels), { maxLogitBytes }),
        ],
        reference: ({ hidden, weight }) => {
          const perRow = reference(hidden, weight, labels);
          return [rowMean(perRow.map((p) => -p)), perRow];
        },
        samples: 24,
      });
    }
  });
}

gpuTest("crossEntropy with row weights, a frozen head, and frozen rows", async (gpu) => {
  const labels = labelsOf(70, 33);
  const weights = Float32Array.from(labels, (id) => id % 3 === 0 ? 0 : 1e-5 + id % 2);
  const total = weights.reduce((sum, w) => sum + w, 0);
  await checkOp(gpu, {
    inputs: { hidden: { shape: [70, 6] }, weight: { shape: [33, 6], grad: false } },
    op: (g, { hidden, weight }) => {
      const rows = { weights: g.scope.upload(weights), total };
      return crossEntropy(g, hidden, weight, labels, { rows, maxLogitBytes: SMALL });
    },
    reference: ({ hidden, weight }) =>
      rowMean(reference(hidden, weight, labels).map((p) => -p), weights),
  });
  await checkOp(gpu, {
    inputs: { hidden: { shape: [70, 6], grad: false }, weight: { shape: [33, 6] } },
    op: (g, { hidden, weight }) => crossEntropy(g, hidden, weight, labels),
    reference: ({ hidden, weight }) => rowMean(reference(hidden, weight, labels).map((p) => -p)),
  });
});

for (const type of ["bf16", "f16"] as const) {
  gpuTest(`a head of ${type}, with and without its transposed copy`, async (gpu) => {
    const [count, dim, vocab] = [9, 8, 30];
    const labels = labelsOf(count, vocab);
    const { data: words, values } = narrowed(normals(5, vocab * dim), type);
    const turned = type === "f16" ? new Float16Array(dim * 32) : new Uint16Array(dim * 32);
    for (let v = 0; v < vocab; v++) {
      for (let d = 0; d < dim; d++) turned[d * 32 + v] = words[v * dim + d];
    }
    for (const withCopy of [false, true]) {
      await checkOp(gpu, {
        inputs: { hidden: { shape: [count, dim] } },
        op: (g, { hidden }) => {
          const weight = g.scope.upload(words, [vocab, dim]);
          assert.equal(weight.dtype, type);
          const transposed = withCopy ? g.scope.upload(turned, [dim, 32]) : undefined;
          return crossEntropy(g, hidden, weight, labels, { transposed });
        },
        reference: ({ hidden }) =>
          rowMean(reference(hidden, Float64Array.from(values), labels).map((p) => -p)),
      });
    }
  });
}

gpuTest("logits are hidden W^T, large ones stay finite", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const hidden = scope.upload(Float32Array.of(300, 0, 0, -300), [2, 2]);
  const weight = scope.upload(Float32Array.of(1, 2, 3, 4, -5, 6), [3, 2]);
  const out = logits(g, hidden, weight);
  assert.deepEqual(out.shape, [2, 4]);
  const got = await gpu.read(out);
  assertClose(
    [...got.slice(0, 3), ...got.slice(4, 7)],
    [300, 900, -1500, -600, -1200, -1800],
    0,
    "y",
  );
  const loss = await gpu.read(logProbs(g, hidden, weight, Uint32Array.of(0, 2)));
  assert.deepEqual(loss, Float32Array.of(-600, -1200));
});

gpuTest("64 lanes a row, which real GPUs use for large vocabularies", async (gpu) => {
  const [rows, vocab, stride] = [3, 1027, 1028];
  using scope = gpu.scope();
  const numbers = normals(4, rows * stride, 3);
  const lse = scope.empty([rows]);
  const log_prob = scope.empty([rows]);
  const tensors = {
    logits: scope.upload(numbers, [rows, stride]),
    labels: scope.upload(Uint32Array.of(0, 1026, 500)),
    lse,
    log_prob,
  };
  const forward = kernel("kernels/cross_entropy_forward.wgsl", forwardSource);
  gpu.run(forward, tensors, { rows, vocab, stride, first: 0 }, rows, { LANES: 64 });
  const row = (r: number) => [...numbers.subarray(r * stride, r * stride + vocab)];
  const expected = [0, 1, 2].map((r) => Math.log(row(r).reduce((s, x) => s + Math.exp(x), 0)));
  assertClose(await gpu.read(lse), expected, 1e-6, "lse");
  const logProb = [0, 1026, 500].map((label, r) => row(r)[label] - expected[r]);
  assertClose(await gpu.read(log_prob), logProb, 1e-6, "log_prob");
});

gpuTest("crossEntropy gives the same bits twice", async (gpu) => {
  const labels = labelsOf(300, 77);
  const run = async () => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const hidden = g.watch(scope.upload(normals(1, 300 * 16), [300, 16]));
    const weight = g.watch(scope.upload(normals(2, 77 * 16), [77, 16]));
    const loss = crossEntropy(g, hidden, weight, labels, { maxLogitBytes: SMALL });
    const value = await gpu.read(loss);
    g.backward([loss]);
    return [value, await gpu.read(g.grad(hidden)), await gpu.read(g.grad(weight))];
  };
  assert.deepEqual(await run(), await run());
});

gpuTest("crossEntropy refuses what does not fit", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const [hidden, weight] = [scope.zeros([2, 3]), scope.zeros([5, 3])];
  assert.throws(
    () => crossEntropy(g, hidden, scope.zeros([5, 4]), Uint32Array.of(0, 1)),
    /TypeError: crossEntropy: hidden is \[2, 3\] but weight is \[5, 4\]; expected \[M, D\] and/,
  );
  assert.throws(
    () => crossEntropy(g, hidden, weight, Uint32Array.of(0)),
    /TypeError: crossEntropy: 1 labels for hidden \[2, 3\]/,
  );
  assert.throws(
    () => crossEntropy(g, hidden, weight, Uint32Array.of(0, 5)),
    /RangeError: crossEntropy: label 5 is not below the vocabulary's 5/,
  );
  assert.throws(
    () => crossEntropy(g, hidden, weight, Uint32Array.of(0, 1), { transposed: weight }),
    /TypeError: crossEntropy: weight is \[5, 3\] but transposed is \[5, 3\]; expected \[3, 8\]/,
  );
  assert.throws(() => logits(g, g.watch(hidden), weight), /TypeError: logits has no gradient/);
});
