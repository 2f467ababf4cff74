import assert from "node:assert/strict";
import type { Gpu } from "../../gpu/device.ts";
import type { Scope } from "../../gpu/pool.ts";
import { AdamW, type Parameter } from "../../training/adamw.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import { adamwStep } from "../reference/adamw.ts";

const NUMBERS = { lr: 0.01, betas: [0.9, 0.99], eps: 1e-8, weightDecay: 0.1 } as const;
const SHAPES = [[1], [7], [257], [3, 5], [64, 64], [129, 97]] as const;

function parameters(scope: Scope, shapes: readonly (readonly number[])[] = SHAPES): Parameter[] {
  return shapes.map((shape, i) => {
    const size = shape.reduce((a, b) => a * b, 1);
    const tensor = scope.upload(normals(10 + i, size), shape, `p${i}`);
    tensor.gradient = scope.zeros(shape);
    return { name: `p${i}`, tensor };
  });
}

function fill(gpu: Gpu, list: readonly Parameter[], seed: number, scale = 1): Float32Array[] {
  return list.map(({ tensor }, i) => {
    const numbers = normals(seed + i, tensor.size, scale);
    gpu.write(tensor.gradient!, numbers);
    return numbers;
  });
}

gpuTest("AdamW follows the float64 loop over five steps, with a changing rate", async (gpu) => {
  using scope = gpu.scope();
  const list = parameters(scope);
  using optimizer = new AdamW(gpu, list, NUMBERS);
  const xs = list.map(({ tensor }, i) => Float64Array.from(normals(10 + i, tensor.size)));
  const ms = xs.map((x) => new Float64Array(x.length));
  const vs = xs.map((x) => new Float64Array(x.length));
  for (let step = 1; step <= 5; step++) {
    const gradients = fill(gpu, list, 100 * step, 0.1 * step);
    const lr = step < 3 ? NUMBERS.lr : NUMBERS.lr / step;
    optimizer.step(step < 3 ? {} : { lr });
    xs.forEach((x, i) => adamwStep(x, gradients[i], ms[i], vs[i], step, { ...NUMBERS, lr }));
  }
  assert.equal(optimizer.numSteps, 5);
  const { step, moments } = await optimizer.readState();
  assert.equal(step, 5);
  for (const [i, { name, tensor }] of list.entries()) {
    assertClose(await gpu.read(tensor), xs[i], 2e-6, name);
    assertClose(moments.get(name)!.expAvg, ms[i], 1e-6, `exp_avg of ${name}`);
    assertClose(moments.get(name)!.expAvgSq, vs[i], 1e-6, `exp_avg_sq of ${name}`);
  }
});

gpuTest("clipGradNorm scales above the limit, not below, and zeroGrad clears", async (gpu) => {
  using scope = gpu.scope();
  const list = parameters(scope);
  using optimizer = new AdamW(gpu, list, NUMBERS);
  for (const scale of [3, 1e-4, 0]) {
    const gradients = fill(gpu, list, 500, scale);
    const norm = Math.sqrt(gradients.flatMap((d) => [...d]).reduce((sum, d) => sum + d * d, 0));
    const coefficient = Math.min(1, 1 / (norm + 1e-6));
    const [got] = await gpu.read(optimizer.clipGradNorm(1));
    assert.ok(Math.abs(got - norm) <= 1e-6 * norm, `norm ${got}, expected ${norm}`);
    for (const [i, { name, tensor }] of list.entries()) {
      const expected = Float64Array.from(gradients[i], (d) => coefficient * d);
      assertClose(await gpu.read(tensor.gradient!), expected, 1e-6, name);
      if (coefficient === 1) assert.deepEqual(await gpu.read(tensor.gradient!), gradients[i]);
    }
  }
  fill(gpu, list, 1);
  optimizer.zeroGrad();
  for (const { tensor } of list) {
    assert.deepEqual(await gpu.read(tensor.gradient!), new Float32Array(tensor.size));
  }
});

gpuTest("clipGradNorm does not count what lies behind a gradient's end", async (gpu) => {
  using scope = gpu.scope();
  const tensor = scope.zeros([3]);
  const behind = scope.upload(Float32Array.of(3, 4, 0, 99));
  tensor.gradient = behind.rows(0, 3);
  using optimizer = new AdamW(gpu, [{ name: "p", tensor }], NUMBERS);
  assert.deepEqual(await gpu.read(optimizer.clipGradNorm(10)), Float32Array.of(5));
});

gpuTest("AdamW gives the same bits twice and continues from a saved state", async (gpu) => {
  const run = async (from: number, to: number, state?: Awaited<ReturnType<AdamW["readState"]>>) => {
    using scope = gpu.scope();
    const list = parameters(scope);
    using optimizer = new AdamW(gpu, list, NUMBERS);
    if (state) optimizer.writeState(state);
    for (let step = from; step < to; step++) {
      fill(gpu, list, 31 * step);
      optimizer.clipGradNorm(0.5);
      optimizer.step();
    }
    return await optimizer.readState();
  };
  const whole = await run(0, 4);
  assert.deepEqual(await run(0, 4), whole);
  assert.deepEqual(await run(2, 4, await run(0, 2)), whole);
});

gpuTest("AdamW of nothing does nothing", async (gpu) => {
  using optimizer = new AdamW(gpu, [], NUMBERS);
  assert.deepEqual(await gpu.read(optimizer.clipGradNorm(1)), Float32Array.of(0));
  optimizer.step();
  optimizer.zeroGrad();
});

gpuTest("AdamW refuses what it cannot train", (gpu) => {
  using scope = gpu.scope();
  const [p] = parameters(scope, [[3]]);
  const frozen = { name: "w", tensor: scope.zeros([2]) };
  const half = { name: "w", tensor: scope.zeros([2], "bf16") };
  const make = (list: Parameter[], numbers = {}) => () =>
    new AdamW(gpu, list, { ...NUMBERS, ...numbers });
  assert.throws(make([frozen]), /TypeError: AdamW: 'w' has no gradient/);
  assert.throws(make([half]), /TypeError: AdamW: 'w' is \[2\] bf16; train f32/);
  assert.throws(make([p, { name: "tied", tensor: p.tensor }]), /'tied' appears twice/);
  assert.throws(make([p], { lr: -1 }), /RangeError: AdamW: lr must be 0 or above, got -1/);
  assert.throws(make([p], { betas: [0.9, 1] }), /RangeError: AdamW: betas must be .* 0.9, 1/);
  using optimizer = new AdamW(gpu, [p], NUMBERS);
  assert.throws(() => optimizer.clipGradNorm(0), /RangeError: clipGradNorm: .* got 0/);
  assert.throws(
    () => optimizer.writeState({ step: 1, moments: new Map() }),
    /TypeError: AdamW: the state has no moments of 'p0', expected 3/,
  );
});
