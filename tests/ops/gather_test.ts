import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { gather, gatherIndex, inverseLists } from "../../ops/gather.ts";
import { add } from "../../ops/add.ts";
import { assertClose, checkOp, gpuTest } from "../check_op.ts";
import { normals, uniforms } from "../random.ts";
import { add as referenceAdd } from "../reference/add.ts";
import { gather as reference } from "../reference/gather.ts";

const draw = (count: number, below: number) => {
  const next = uniforms(31);
  return Uint32Array.from({ length: count }, () => Math.floor(next() * below));
};

for (const dim of [1, 7, 8, 36, 257]) {
  for (const [rows, count] of [[1, 1], [7, 1], [7, 0], [5, 257], [257, 7]]) {
    gpuTest(`gather of ${count} rows from [${rows}, ${dim}]`, async (gpu) => {
      const index = draw(count, rows);
      await checkOp(gpu, {
        inputs: { x: { shape: [rows, dim] } },
        op: (g, { x }) => gather(g, x, index),
        reference: ({ x }) => reference(x, dim, index),
      });
    });
  }
}

gpuTest("gather by a prepared index, twice, from a parameter", async (gpu) => {
  const index = Uint32Array.of(3, 1, 3, 3, 0);
  using lists = gpu.scope();
  const prepared = gatherIndex(lists, index, 5);
  await checkOp(gpu, {
    inputs: { x: { shape: [5, 6], parameter: true } },
    op: (g, { x }) => add(g, gather(g, x, prepared), gather(g, x, prepared), { beta: 2 }),
    reference: ({ x }) => referenceAdd(reference(x, 6, index), reference(x, 6, index), 1, 2),
  });
});

gpuTest(
  "gather by an index that only the device knows clamps it and has no gradient",
  async (gpu) => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const values = normals(32, 6);
    const x = scope.upload(values, [3, 2]);
    const index = scope.upload(Uint32Array.of(2, 99, 0));
    const expected = reference(Float64Array.from(values), 2, [2, 2, 0]);
    assertClose(await gpu.read(gather(g, x, index)), expected, 0, "rows");
    g.watch(x);
    assert.throws(() => gather(g, x, index), {
      name: "TypeError",
      message:
        "gather by an index on the device has no gradient, but [3, 2] needs one: stopGradient it",
    });
  },
);

gpuTest("gather's gradient repeats bit for bit", async (gpu) => {
  const gradient = async () => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const x = g.watch(scope.upload(normals(33, 5 * 12), [5, 12]));
    const out = gather(g, x, draw(1000, 5));
    g.backward([out, scope.upload(normals(34, out.size), out.shape)]);
    return await gpu.read(g.grad(x));
  };
  assert.deepEqual(await gradient(), await gradient());
});

Deno.test("inverse lists are ascending", () => {
  assert.deepEqual(inverseLists(Uint32Array.of(3, 1, 3, 3, 0), 11), {
    usedRows: Uint32Array.of(0, 1, 3),
    offsets: Uint32Array.of(0, 1, 2, 5),
    entries: Uint32Array.of(4, 1, 0, 2, 3),
  });
});

gpuTest("gather refuses what does not fit", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const x = scope.zeros([7, 2]);
  assert.throws(() => gather(g, x, Uint32Array.of(0, 7)), {
    name: "RangeError",
    message: "gather: index 7 at position 1 must be below the number of rows, 7",
  });
  assert.throws(() => gather(g, x, gatherIndex(scope, Uint32Array.of(1), 8)), {
    name: "TypeError",
    message: "gather: the index was prepared for 8 rows, but the rows are [7, 2]",
  });
  assert.throws(() => gather(g, x, scope.zeros([2])), {
    name: "TypeError",
    message: "gather: index is [2]; expected u32",
  });
  assert.throws(() => gather(g, scope.zeros([7]), Uint32Array.of(0)), {
    name: "TypeError",
    message: "gather: x is [7]; expected [N, D] f32",
  });
});
