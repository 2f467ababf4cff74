/** Tensors: shapes, views, the bytes behind them, and what is refused. */
import assert from "node:assert/strict";
import { type Allocation, bytesPerElement, sizeOf, Tensor } from "../../gpu/tensor.ts";
import { gpuTest } from "../check_op.ts";

const buffer = undefined as unknown as Allocation["buffer"]; // never touched by what is tested here

function tensor(shape: number[], dtype: Tensor["dtype"] = "f32", name = ""): Tensor {
  const allocation = { id: 0, buffer, byteLength: 256, lastEncoder: -1, lease: 0 };
  return new Tensor(allocation, shape, dtype, 0, name);
}

Deno.test("tensor: sizes and bytes", () => {
  assert.equal(sizeOf([2, 3, 5]), 30);
  assert.equal(sizeOf([]), 1);
  assert.equal(sizeOf([4, 0, 7]), 0);
  assert.deepEqual([bytesPerElement("bf16"), bytesPerElement("f16")], [2, 2]);
  assert.equal(tensor([3, 5]).byteLength, 60);
  assert.equal(tensor([3, 5], "bf16").byteLength, 30);
  assert.equal(tensor([3, 5], "f16").byteLength, 30);
  for (const shape of [[-1, 2], [1.5], [NaN], [2 ** 60]]) {
    assert.throws(() => sizeOf(shape), {
      name: "RangeError",
      message: `a tensor's sizes must be whole numbers >= 0, got [${shape.join(", ")}]`,
    });
  }
});

Deno.test("tensor: prints as name, shape and type", () => {
  assert.equal(`${tensor([64, 128], "f32", "q_proj.weight")}`, "q_proj.weight[64, 128]");
  assert.equal(`${tensor([3], "bf16")} ${tensor([3], "f16")}`, "[3] bf16 [3] f16");
});

Deno.test("tensor: reshape keeps the numbers and a parameter's gradient", () => {
  const weight = tensor([2, 6], "f32", "w");
  weight.gradient = tensor([2, 6]);
  const view = weight.reshape([3, 4]);
  assert.deepEqual([view.shape, view.byteOffset, view.name], [[3, 4], 0, "w"]);
  assert.equal(view.allocation, weight.allocation);
  assert.deepEqual(view.gradient?.shape, [3, 4]);
  assert.equal(view.gradient?.allocation, weight.gradient.allocation);
  assert.equal(tensor([2, 6]).reshape([12]).gradient, undefined);
  assert.throws(() => weight.reshape([5]), {
    name: "TypeError",
    message: "cannot reshape w[2, 6] to [5]: sizes differ",
  });
});

Deno.test("tensor: rows are views, of views too, without a gradient", () => {
  const x = tensor([6, 4], "f32", "x");
  x.gradient = tensor([6, 4]);
  const middle = x.rows(2, 5);
  assert.deepEqual([middle.shape, middle.byteOffset, middle.gradient], [[3, 4], 32, undefined]);
  assert.equal(middle.rows(1, 3).byteOffset, 48);
  assert.deepEqual(x.rows(6, 6).shape, [0, 4]);
  assert.equal(x.rows(6, 6).byteOffset, 0, "an empty view stays inside the buffer");
  for (const [begin, end] of [[-1, 2], [3, 2], [0, 7], [NaN, 1]]) {
    assert.throws(() => x.rows(begin, end), {
      name: "RangeError",
      message: `rows ${begin} to ${end} are not in x[6, 4]`,
    });
  }
});

Deno.test("tensor: rows of 16 bits never cut a 32-bit word in two", () => {
  for (const dtype of ["bf16", "f16"] as const) {
    const odd = tensor([4, 3], dtype);
    assert.equal(odd.rows(2, 4).byteOffset, 12);
    assert.deepEqual(odd.rows(0, 4).shape, [4, 3]);
    for (const [begin, end] of [[0, 1], [1, 2], [1, 4]]) {
      assert.throws(() => odd.rows(begin, end), {
        name: "RangeError",
        message: `rows ${begin} to ${end} of [4, 3] ${dtype} cut a 32-bit word in two`,
      });
    }
    assert.equal(tensor([4, 2], dtype).rows(1, 2).byteOffset, 4);
  }
});

gpuTest(
  "tensor: dead when its scope has ended, it was released, or its buffer serves another",
  (gpu) => {
    const scope = gpu.scope();
    const x = scope.upload(new Float32Array(4), [2, 2], "x");
    const y = scope.empty([3], "f32", "y");
    x.assertAlive("test");
    scope.release(y);
    const again = scope.empty([3], "f32", "z");
    assert.equal(again.allocation, y.allocation, "the pool reuses the buffer");
    again.assertAlive("test");
    assert.throws(() => y.assertAlive("test"), {
      name: "TypeError",
      message: "test: the memory of y[3] was given back; its scope has ended or it was released",
    });
    scope[Symbol.dispose]();
    for (const use of [() => x.reshape([4]), () => x.rows(0, 1), () => gpu.readback(x)]) {
      assert.throws(use, /^TypeError: (reshape|rows|read): the memory of x\[2, 2\] was given back/);
    }
  },
);
