import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import {
  gaussianEntropy,
  gaussianLogProb,
  gaussianNll,
  sampleGaussian,
} from "../../ops/gaussian.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { uniforms } from "../random.ts";
import * as reference from "../reference/gaussian.ts";
import { rowMean } from "../reference/row_mean.ts";

const SIZES = [[0, 5], [1, 1], [7, 257], [257, 7], [9, 64]] as const;

for (const [rows, dim] of SIZES) {
  const shape = [rows, dim];

  gpuTest(`sampleGaussian [${rows}, ${dim}]`, async (gpu) => {
    for (const stdScale of [1, 0.5, 0]) {
      await checkOp(gpu, {
        inputs: { mean: { shape }, logStd: { shape }, eps: { shape, grad: false } },
        op: (g, { mean, logStd, eps }) => sampleGaussian(g, mean, logStd, eps, stdScale),
        reference: ({ mean, logStd, eps }) => reference.sampleGaussian(mean, logStd, eps, stdScale),
      });
    }
  });

  gpuTest(`gaussianLogProb [${rows}, ${dim}], mean and sum`, async (gpu) => {
    await checkOp(gpu, {
      inputs: { mean: { shape }, logStd: { shape }, value: { shape } },
      op: (g, { mean, logStd, value }) => [
        gaussianLogProb(g, mean, logStd, value, "mean"),
        gaussianLogProb(g, mean, logStd, value, "sum"),
      ],
      reference: ({ mean, logStd, value }) => {
        const sum = reference.gaussianLogProb(mean, logStd, value, rows);
        return [sum.map((s) => s / dim), sum];
      },
    });
  });

  gpuTest(`gaussianNll and gaussianEntropy with row weights [${rows}, ${dim}]`, async (gpu) => {
    const next = uniforms(rows + dim);
    const weights = Float32Array.from({ length: rows }, () => next() < 0.4 ? 0 : next());
    const total = weights.reduce((sum, w) => sum + w, 0);
    await checkOp(gpu, {
      inputs: { mean: { shape }, logStd: { shape }, value: { shape } },
      op: (g, { mean, logStd, value }) => {
        const weighted = { weights: g.scope.upload(weights), total };
        return [
          gaussianNll(g, mean, logStd, value),
          gaussianNll(g, mean, logStd, value, weighted),
          gaussianEntropy(g, logStd),
          gaussianEntropy(g, logStd, weighted),
        ];
      },
      reference: ({ mean, logStd, value }) => {
        const nll = reference.gaussianLogProb(mean, logStd, value, rows).map((s) => -s / dim);
        const entropy = reference.gaussianEntropy(logStd, rows);
        return [rowMean(nll), rowMean(nll, weights), rowMean(entropy), rowMean(entropy, weights)];
      },
    });
  });
}

gpuTest("gaussian: gradients flow only where they are wanted", async (gpu) => {
  const shape = [3, 5];
  await checkOp(gpu, {
    inputs: { mean: { shape, grad: false }, logStd: { shape }, value: { shape, grad: false } },
    op: (g, { mean, logStd, value }) => [
      gaussianNll(g, mean, logStd, value),
      sampleGaussian(g, mean, logStd, value),
    ],
    reference: ({ mean, logStd, value }) => [
      rowMean(reference.gaussianLogProb(mean, logStd, value, 3).map((s) => -s / 5)),
      reference.sampleGaussian(mean, logStd, value, 1),
    ],
  });
});

gpuTest("gaussian refuses unequal shapes and a trained eps", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const [a, b] = [scope.zeros([2, 3]), scope.zeros([3, 2])];
  assert.throws(
    () => gaussianLogProb(g, a, b, a, "sum"),
    /TypeError: gaussianLogProb: got mean \[2, 3\], logStd \[3, 2\], value \[2, 3\]; expected one/,
  );
  assert.throws(() => sampleGaussian(g, a, a, g.watch(scope.zeros([2, 3]))), /has no gradient/);
});
