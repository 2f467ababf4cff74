/** The tape: which gradients exist, where they go, what is refused, when memory comes back. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Scope } from "../../gpu/pool.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { assertClose, checkOp, gpuTest } from "../check_op.ts";
import { add, mul, read, split, write } from "./small_ops.ts";

type Setting = {
  gpu: Gpu;
  scope: Scope;
  g: Graph;
  input(...x: number[]): Tensor;
  parameter(...x: number[]): Tensor;
};

/** A test with a graph, and inputs and parameters by their numbers. */
function tapeTest(name: string, fn: (setting: Setting) => Promise<void> | void): void {
  gpuTest(`tape: ${name}`, async (gpu) => {
    using scope = gpu.scope();
    const input = (...x: number[]) => scope.upload(new Float32Array(x));
    const parameter = (...x: number[]) => {
      const tensor = input(...x);
      tensor.gradient = scope.zeros([x.length]);
      return tensor;
    };
    await fn({ gpu, scope, g: new Graph(gpu, scope), input, parameter });
  });
}

async function numbers(gpu: Gpu, tensor: Tensor | undefined): Promise<number[]> {
  assert.ok(tensor, "there is a gradient");
  return [...await gpu.read(tensor)];
}

gpuTest("tape: chains, fan-out and shared parameters against central differences", async (gpu) => {
  for (const size of [1, 7, 257]) {
    await checkOp(gpu, {
      inputs: { x: { shape: [size] }, y: { shape: [size] }, w: { shape: [size], parameter: true } },
      op: (g, { x, y, w }) => {
        const h = mul(g, x, w); // w is used twice, h three times
        const s = add(g, h, mul(g, h, y), 0.5);
        return [mul(g, s, w), mul(g, h, h)];
      },
      reference: ({ x, y, w }) => {
        const h = x.map((v, i) => v * w[i]);
        return [h.map((v, i) => (v + 0.5 * v * y[i]) * w[i]), h.map((v) => v * v)];
      },
    });
  }
});

gpuTest("tape: writes to a cache that is read before and after", async (gpu) => {
  const dim = 7;
  await checkOp(gpu, {
    inputs: { x: { shape: [dim] }, w: { shape: [dim], parameter: true } },
    op: (g, { x, w }) => {
      const cache = g.zeros([2, dim]);
      write(g, cache, mul(g, x, w), 0);
      const first = read(g, cache, 1);
      write(g, cache, mul(g, first, w), 1);
      return read(g, cache, 2);
    },
    reference: ({ x, w }) => x.map((v, i) => v * w[i] + 2 * v * w[i] * w[i]),
  });
});

gpuTest("tape: several outputs, one of them unused", async (gpu) => {
  const inputs = { a: { shape: [7] } };
  await checkOp(gpu, {
    inputs,
    op: (g, { a }) => split(g, a),
    reference: ({ a }) => [a.map((v) => 2 * v), a.map((v) => v * v)],
  });
  await checkOp(gpu, {
    inputs,
    op: (g, { a }) => split(g, a)[1],
    reference: ({ a }) => a.map((v) => v * v),
  });
});

tapeTest("two uses of one parameter add up, and add to what was there", async (t) => {
  const { gpu, g } = t;
  const [x, w] = [t.input(1, 2, 3), t.parameter(4, 5, 6)];
  const first = mul(g, x, w);
  g.backward([add(g, first, mul(g, x, w, 2))]);
  assert.deepEqual(await numbers(gpu, w.gradient), [3, 6, 9]);
  const next = new Graph(gpu, t.scope);
  next.backward([mul(next, x, w)]);
  assert.deepEqual(await numbers(gpu, w.gradient), [4, 8, 12], "a second batch accumulates");
  assert.equal(g.gradIfAny(x), undefined);
});

tapeTest("nothing trained: nothing recorded, no gradient, no memory", (t) => {
  const { gpu, g, scope } = t;
  const [x, y] = [t.input(1, 2), t.input(3, 4)];
  for (const graph of [g, new Graph(gpu, scope, { training: false })]) {
    const before = gpu.pool.memory.inUse;
    const out = mul(graph, x, y);
    const grown = gpu.pool.memory.inUse - before;
    assert.equal(grown, out.allocation.byteLength);
    assert.equal(graph.needsGrad(out), false);
    assert.throws(() => graph.backward([out]), {
      name: "TypeError",
      message: "backward: nothing that leads to [2] is trained, or its backward has run already",
    });
    assert.throws(() => graph.grad(x), {
      name: "TypeError",
      message: "grad: [2] does not take part in training; use watch() for an input",
    });
    assert.equal(gpu.pool.memory.inUse, before + grown);
  }
});

tapeTest("evaluation records nothing, even for parameters", async (t) => {
  const evaluation = new Graph(t.gpu, t.scope, { training: false });
  const w = t.parameter(2, 3);
  const out = mul(evaluation, w, t.input(5, 7));
  assert.equal(evaluation.needsGrad(w), false);
  assert.throws(() => evaluation.backward([out]), /nothing that leads to \[2\] is trained/);
  assert.deepEqual(await numbers(t.gpu, out), [10, 21]);
});

tapeTest("watch gives an input a gradient, stopGradient takes it away", async (t) => {
  const { gpu, g } = t;
  const [x, y, w] = [t.input(1, 2), t.input(3, 4), t.parameter(5, 6)];
  g.watch(x);
  const h = mul(g, x, y);
  const stopped = g.stopGradient(h);
  assert.equal(g.needsGrad(stopped), false);
  assert.equal(g.needsGrad(g.stopGradient(w)), false);
  g.backward([add(g, mul(g, stopped, g.stopGradient(w)), mul(g, h, w))]);
  assert.deepEqual(await numbers(gpu, g.gradIfAny(x)), [15, 24]);
  assert.deepEqual(await numbers(gpu, w.gradient), [3, 8]);
  assert.equal(g.gradIfAny(y), undefined);
});

tapeTest("an operation without backward refuses what needs one", (t) => {
  const [x, w] = [t.input(1), t.parameter(2)];
  t.g.forwardOnly("sample", [x, t.g.stopGradient(w)]);
  assert.throws(() => t.g.forwardOnly("sample", [x, mul(t.g, x, w)]), {
    name: "TypeError",
    message: "sample has no gradient, but [1] needs one: stopGradient it",
  });
  new Graph(t.gpu, t.scope, { training: false }).forwardOnly("sample", [w]);
});

tapeTest("seeds weigh outputs; without one it is ones", async (t) => {
  const { gpu, g } = t;
  const [x, w] = [t.input(1, 2), t.parameter(3, 4)];
  const [a, b] = [mul(g, x, w), mul(g, w, w)];
  g.backward([a, t.input(10, 100)], [b]);
  assert.deepEqual(await numbers(gpu, w.gradient), [10 + 6, 200 + 8]);
});

tapeTest("a seed on an output that another one uses joins what comes from there", async (t) => {
  const { gpu, g } = t;
  const [x, w] = [t.input(1, 2), t.parameter(3, 4)];
  const h = mul(g, x, w);
  g.backward([h, t.input(1000, 1000)], [mul(g, h, x), t.input(1, 1)]);
  assert.deepEqual(await numbers(gpu, w.gradient), [1001, 2004]);
});

tapeTest("backward twice, an output twice, a seed of another size: refused", (t) => {
  const { g } = t;
  const w = t.parameter(2, 3);
  const out = mul(g, w, t.input(1, 1));
  assert.throws(() => g.backward([out], [out]), {
    name: "TypeError",
    message: "backward: [2] has a gradient already; name each output once",
  });
  assert.throws(() => g.backward([w]), /has a gradient already/);
  const other = mul(g, w, t.input(1, 1));
  assert.throws(() => g.backward([other, t.input(1)]), /^TypeError: copy: \[1\] and \[2\] differ/);
  const last = mul(g, w, t.input(1, 1));
  g.backward([last]);
  assert.throws(() => g.backward([last]), /or its backward has run already$/);
});

tapeTest("what no seed depends on is not run", async (t) => {
  const { gpu, g } = t;
  const w = t.parameter(2, 3);
  const out = mul(g, w, t.input(1, 1));
  const unused = g.record(g.empty([2]), [w], () => assert.fail("nothing depends on it"));
  assert.ok(g.needsGrad(unused));
  g.backward([out]);
  assert.deepEqual(await numbers(gpu, w.gradient), [1, 1]);
});

tapeTest("zero-size tensors have gradients too", async (t) => {
  const w = t.parameter();
  t.g.backward([mul(t.g, t.input(), w)]);
  assert.deepEqual(await numbers(t.gpu, w.gradient), []);
});

tapeTest("gradients of a chain take the memory of two", async (t) => {
  const { gpu, g, scope } = t;
  const size = 100_000;
  const w = scope.upload(new Float32Array(size).fill(1));
  w.gradient = scope.zeros([size]);
  let h = w;
  for (let i = 0; i < 20; i++) h = mul(g, h, w);
  const seed = scope.upload(new Float32Array(size).fill(1));
  gpu.pool.resetPeak();
  const before = gpu.pool.memory.inUse;
  g.backward([h, seed]);
  const grown = gpu.pool.memory.peak - before;
  assert.ok(grown <= 2 * w.allocation.byteLength, `${grown} bytes`);
  assert.equal(gpu.pool.memory.inUse, before, "and everything is given back");
  const more = mul(g, w, g.stopGradient(w));
  g.backward([more]);
  assert.equal(gpu.pool.memory.inUse, before + more.allocation.byteLength, "ones too");
  assertClose(await gpu.read(w.gradient), new Float64Array(size).fill(22), 1e-6, "d (w^21 + w)");
});

tapeTest("a child graph sends gradients to its parent's tensors", async (t) => {
  const { gpu, g } = t;
  const [x, w] = [g.watch(t.input(2, 3)), t.parameter(5, 7)];
  const h = mul(g, x, w);
  {
    using scope = gpu.scope();
    const child = new Graph(gpu, scope, { parent: g });
    assert.ok(child.needsGrad(h) && child.needsGrad(x));
    const out = mul(child, h, child.watch(scope.upload(new Float32Array([10, 10]))));
    assert.equal(g.needsGrad(out), false, "the parent knows nothing of its child's tensors");
    child.backward([out]);
    assert.equal(child.gradIfAny(h), g.gradIfAny(h));
  }
  assert.deepEqual(await numbers(gpu, g.gradIfAny(h)), [10, 10], "it outlives the child");
});
