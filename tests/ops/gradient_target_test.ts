import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { gradientTarget } from "../../ops/gradient_target.ts";
import { gpuTest } from "../check_op.ts";

gpuTest("gradientTarget says whether a gradient holds anything", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const x = g.watch(scope.zeros([3]));
  assert.equal(gradientTarget(g, x).accumulate, false);
  assert.deepEqual(gradientTarget(g, x), { gradient: g.grad(x), accumulate: true });
  const parameter = scope.zeros([3]);
  parameter.gradient = scope.zeros([3]);
  assert.deepEqual(gradientTarget(g, parameter), {
    gradient: parameter.gradient,
    accumulate: true,
  });
  assert.deepEqual(gradientTarget(g, scope.zeros([2])).gradient.shape, [2]);
});
