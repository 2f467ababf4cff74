import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { grpoLoss } from "../../ops/grpo.ts";
import { assertClose, checkOp, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import * as reference from "../reference/grpo.ts";

const CASES: readonly (readonly number[])[] = [[], [0], [1], [3, 0, 7, 1], [257, 5, 65, 64]];

for (const lengths of CASES) {
  gpuTest(`grpoLoss of sequences of [${lengths}]`, async (gpu) => {
    const size = lengths.reduce((sum, n) => sum + n, 0);
    const data = normals(3, size).map((x) => -2 + 0.3 * x);
    const old = normals(5, size).map((x, i) => data[i] + 0.3 * x);
    const advantages = [...normals(7, lengths.length)];
    for (const averagePerToken of [true, false]) {
      const options = { old, lengths, advantages, clipEps: 0.2, averagePerToken };
      await checkOp(gpu, {
        inputs: { logProbs: { shape: [size], data } },
        op: (g, { logProbs }) => grpoLoss(g, logProbs, options),
        reference: ({ logProbs }) =>
          reference.grpoLoss(
            ...[logProbs, old, lengths, advantages, 0.2, averagePerToken ? 0 : 32] as const,
          ),
      });
    }
  });
}

gpuTest("grpoLoss: sequences without advantage may be left out of it", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const common = { clipEps: 0.2, averagePerToken: true };
  const all = grpoLoss(g, scope.upload(Float32Array.of(-1, -2, -3)), {
    ...common,
    ...{ old: Float32Array.of(-1.1, -2, -2.9), lengths: [1, 2], advantages: [0.5, 0] },
  });
  const some = grpoLoss(g, scope.upload(Float32Array.of(-1)), {
    ...common,
    ...{ old: Float32Array.of(-1.1), lengths: [1], advantages: [0.5], numSequences: 2 },
  });
  const [expected] = await gpu.read(all);
  assert.ok(expected < -0.2);
  assertClose(await gpu.read(some), [expected], 1e-7, "the same mean");
});

gpuTest("grpoLoss: beyond the interval only the losing side has a gradient", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const logProbs = g.watch(scope.upload(Float32Array.of(0, 0, 0, 0)));
  const loss = grpoLoss(g, logProbs, {
    ...{ old: Float32Array.of(-1, -1, 1, 1), lengths: [1, 1, 1, 1], advantages: [1, -1, 1, -1] },
    ...{ clipEps: 0.2, averagePerToken: true },
  });
  g.backward([loss]);
  const [e, f] = [Math.E / 4, 1 / Math.E / 4];
  assertClose(await gpu.read(g.grad(logProbs)), [0, e, -f, 0], 1e-6, "gradient");
});

gpuTest("grpoLoss refuses numbers that do not belong together", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const options = { old: new Float32Array(2), lengths: [3], advantages: [1] };
  assert.throws(
    () => grpoLoss(g, scope.zeros([3]), { ...options, clipEps: 0.2, averagePerToken: true }),
    /TypeError: grpoLoss: logProbs are \[3\], old \[2\] and advantages \[1\]; expected \[3\] twice/,
  );
});
