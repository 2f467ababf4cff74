/** The distance between teacher and student against float64; who gets its gradient, and which states are compared. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { distillation, layerStates } from "../../models/distillation.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { inverseStd } from "../reference/inverse_std.ts";
import { smoothDistance } from "../reference/smooth_l1.ts";
import { normals } from "../random.ts";

const [LAYERS, B, D] = [3, 5, 7];

for (const divideByStd of [false, true]) {
  gpuTest(`distillation: value and gradient, divided by std ${divideByStd}`, async (gpu) => {
    const shape = [LAYERS * B, D];
    // Layers of very different scales, so that dividing matters.
    const teacher = normals(5, LAYERS * B * D).map((v, i) => v * 10 ** Math.floor(i / (B * D) - 1));
    await checkOp(gpu, {
      inputs: { student: { shape }, teacher: { shape, data: teacher, grad: false } },
      op: (g, { student, teacher }) => distillation(g, student, teacher, B, { divideByStd }),
      reference: ({ student, teacher }) => {
        const distance = smoothDistance(student, teacher, LAYERS * B, 1);
        const weights = inverseStd(teacher, LAYERS * B, B);
        const sum = distance.reduce((total, v, i) => total + v * (divideByStd ? weights[i] : 1), 0);
        return Float64Array.of(sum / (LAYERS * B));
      },
    });
  });
}

gpuTest("distillation: no gradient reaches the teacher", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const [student, teacher] = [1, 2].map((seed) => g.watch(scope.upload(normals(seed, 12), [4, 3])));
  g.backward([distillation(g, student, teacher, 2, { divideByStd: true })]);
  assert.equal(g.gradIfAny(teacher), undefined);
  assert.ok((await gpu.read(g.grad(student))).every((v) => v !== 0));
});

gpuTest("layerStates: outputs of the blocks but the last, then the final norm's", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  // State s of token n is 10 s + n.
  const state = (s: number) =>
    scope.upload(Float32Array.from({ length: 6 }, (_, i) => 10 * s + Math.floor(i / 2)), [3, 2]);
  const result = { hidden: state(9), hiddenStates: [0, 1, 2, 3].map(state) };
  const tokens = Uint32Array.of(2, 0);
  const read = async (withEmbeddings: boolean) => {
    const states = await gpu.read(layerStates(g, result, tokens, { withEmbeddings }));
    return [...states].filter((_, i) => i % 2 === 0);
  };
  assert.deepEqual(await read(false), [12, 10, 22, 20, 92, 90]);
  assert.deepEqual(await read(true), [2, 0, 12, 10, 22, 20, 92, 90]);
});
