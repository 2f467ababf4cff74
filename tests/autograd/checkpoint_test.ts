/** Checkpointing: the same bits, less memory, nothing left behind. */
import assert from "node:assert/strict";
import { checkpoint } from "../../autograd/checkpoint.ts";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { checkOp, gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import { add, mul, read, split, write } from "./small_ops.ts";

const SIZE = 10_007;
const DEPTH = 6;

/** A block with many intermediates: several uses of the input, of the weight, and two outputs of one operation. */
function block(g: Graph, x: Tensor, w: Tensor): Tensor {
  let h = mul(g, x, w, 0.5);
  for (let i = 0; i < 6; i++) h = add(g, mul(g, h, w, 0.3), x, 0.1);
  const [low, high] = split(g, h);
  return add(g, x, add(g, low, high, 0.25), 0.125);
}

type Run = (g: Graph, x: Tensor, w: Tensor) => Tensor;
const plain: Run = (g, x, w) => block(g, x, w);
const kept: Run = (g, x, w) => checkpoint(g, (inner) => block(inner, x, w), [x]);
const nested: Run = (g, x, w) =>
  checkpoint(g, (outer) => {
    const h = checkpoint(outer, (inner) => mul(inner, x, x, 0.5), [x]);
    return checkpoint(outer, (inner) => block(inner, h, w), [h]);
  }, [x]);
const nestedPlain: Run = (g, x, w) => block(g, mul(g, x, x, 0.5), w);

/** Output and gradients of a chain of blocks, with the most memory that it took beyond its start. */
async function chain(gpu: Gpu, run: Run, watched = true) {
  using scope = gpu.scope();
  const x = scope.upload(normals(1, SIZE), [SIZE], "x");
  const weights = Array.from({ length: DEPTH - 1 }, (_, i) => {
    const w = scope.upload(normals(i + 2, SIZE), [SIZE], `w${i}`);
    w.gradient = scope.zeros([SIZE]);
    return w;
  });
  const start = gpu.pool.memory.inUse;
  gpu.pool.resetPeak();
  using step = gpu.scope();
  const g = new Graph(gpu, step);
  if (watched) g.watch(x);
  let h = x;
  for (let i = 0; i < DEPTH; i++) h = run(g, h, weights[i % weights.length]); // one weight serves twice
  const forward = gpu.pool.memory.inUse - start;
  g.backward([h]);
  const peak = gpu.pool.memory.peak - start;
  const numbers = [await gpu.read(h)];
  for (const w of weights) numbers.push(await gpu.read(w.gradient!));
  const d_x = g.gradIfAny(x);
  if (d_x) numbers.push(await gpu.read(d_x));
  return { numbers, forward, peak, buffer: x.allocation.byteLength };
}

gpuTest(
  "checkpoint: values and gradients of a chain are the same bits at less memory",
  async (gpu) => {
    const [a, b] = [await chain(gpu, plain), await chain(gpu, kept)];
    assert.equal(a.numbers.length, DEPTH + 1);
    assert.deepEqual(b.numbers, a.numbers);
    assert.ok(a.numbers.every((list) => list.every(Number.isFinite) && list.some((v) => v !== 0)));
    const [blockBuffers, keptBuffers] = [
      a.forward / a.buffer / DEPTH,
      b.forward / b.buffer / DEPTH,
    ];
    console.log(
      `  buffers a block: ${blockBuffers} -> ${keptBuffers}; peak ${a.peak} -> ${b.peak} bytes`,
    );
    assert.equal(keptBuffers, 1, "forward keeps one output a block");
    assert.ok(b.peak <= (DEPTH + blockBuffers + 6) * b.buffer, `${b.peak} bytes`);
    assert.ok(b.peak < a.peak / 2);
  },
);

gpuTest("checkpoint: blocks inside blocks", async (gpu) => {
  const [a, b] = [await chain(gpu, nestedPlain), await chain(gpu, nested)];
  assert.deepEqual(b.numbers, a.numbers);
  assert.ok(b.peak < a.peak);
});

gpuTest("checkpoint: a block is trained inside although its input is not", async (gpu) => {
  const [a, b] = [await chain(gpu, plain, false), await chain(gpu, kept, false)];
  assert.equal(a.numbers.length, DEPTH, "no gradient of the input");
  assert.deepEqual(b.numbers, a.numbers);
});

gpuTest("checkpoint: its gradients against central differences", async (gpu) => {
  await checkOp(gpu, {
    inputs: { x: { shape: [7] }, w: { shape: [7], parameter: true } },
    op: (g, { x, w }) => {
      const h = checkpoint(g, (inner) => mul(inner, mul(inner, x, w), x), [x]);
      return add(g, checkpoint(g, (inner) => mul(inner, h, w), [h]), h, 2);
    },
    reference: ({ x, w }) => x.map((v, i) => v * v * w[i] * (w[i] + 2)),
  });
});

gpuTest("checkpoint: blocks that read what earlier blocks wrote to a cache", async (gpu) => {
  const run = async (isKept: boolean) => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const cache = scope.zeros([3, 257]);
    const x = scope.upload(normals(1, 257));
    const w = scope.upload(normals(2, 257));
    w.gradient = scope.zeros([257]);
    let h = x;
    for (let row = 0; row < 3; row++) {
      const input = h;
      const block = (inner: Graph) => {
        write(inner, cache, mul(inner, input, w), row);
        return add(inner, read(inner, cache, row + 1), input, 0.5);
      };
      h = isKept ? checkpoint(g, block, [input]) : block(g);
    }
    g.backward([h]);
    return [await gpu.read(h), await gpu.read(w.gradient)];
  };
  const plainNumbers = await run(false);
  assert.ok(plainNumbers[1].some((v) => v !== 0));
  assert.deepEqual(await run(true), plainNumbers);
});

gpuTest("checkpoint: gives all memory back", async (gpu) => {
  const before = gpu.pool.memory.inUse;
  await chain(gpu, kept);
  await chain(gpu, nested);
  assert.equal(gpu.pool.memory.inUse, before);
});

gpuTest(
  "checkpoint: without training, or with nothing trained, the block just runs once",
  async (gpu) => {
    using scope = gpu.scope();
    const [x, y] = [scope.upload(new Float32Array([1, 2])), scope.upload(new Float32Array([3, 4]))];
    const trained = scope.upload(new Float32Array([3, 4]));
    trained.gradient = scope.zeros([2]);
    for (const [training, w] of [[false, trained], [true, y]] as const) {
      const g = new Graph(gpu, scope, { training });
      let calls = 0;
      const out = checkpoint(g, (inner) => {
        calls++;
        assert.equal(inner.training, training);
        return mul(inner, x, w);
      }, [x]);
      assert.equal(calls, 1);
      assert.equal(g.needsGrad(out), false);
      assert.deepEqual([...await gpu.read(out)], [3, 8]);
    }
  },
);

gpuTest("checkpoint: a block may hand an outer tensor through", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const x = g.watch(scope.upload(new Float32Array([1, 2])));
  const h = mul(g, x, x);
  assert.equal(checkpoint(g, () => h, [h]), h);
  g.backward([mul(g, checkpoint(g, () => x, [x]), h)]);
  assert.deepEqual([...await gpu.read(g.grad(x))], [3, 12]);
});

gpuTest("checkpoint: an intermediate that escapes its block is refused, not read", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const x = g.watch(scope.upload(new Float32Array([1, 2])));
  let escaped = x;
  checkpoint(g, (inner) => mul(inner, escaped = mul(inner, x, x), x), [x]);
  assert.throws(() => mul(g, escaped, x), /^TypeError: .*'a': the memory of \[2\] was given back/);
});

gpuTest("checkpoint: a block that throws leaves nothing behind", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const x = g.watch(scope.upload(new Float32Array([1, 2])));
  const before = gpu.pool.memory.inUse;
  const failing = (inner: Graph) => {
    mul(inner, x, x);
    throw new RangeError("inside");
  };
  assert.throws(() => checkpoint(g, failing, [x]), /inside/);
  assert.equal(gpu.pool.memory.inUse, before);
});
