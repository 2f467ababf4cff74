import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import {
  normalOf,
  normals,
  rowKey,
  threefry,
  uniformOf,
  uniforms,
  type Words,
} from "../../ops/random.ts";
import { assertClose, gpuTest } from "../check_op.ts";

// Known answers of Random123 (tests/kat_vectors, threefry2x32 with 20 rounds): counter, key, words.
const KNOWN: readonly (readonly [Words, Words, Words])[] = [
  [[0, 0], [0, 0], [0x6b200159, 0x99ba4efe]],
  [[0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], [0x1cb996fc, 0xbb002be7]],
  [[0x243f6a88, 0x85a308d3], [0x13198a2e, 0x03707344], [0xc4923a9c, 0x483df7a0]],
];

Deno.test("threefry gives the published answers", () => {
  for (const [counter, key, words] of KNOWN) assert.deepEqual(threefry(key, counter), words);
});

const LARGE = 0xfffffff0;
const rowsOf = (count: number) =>
  Uint32Array.from({ length: 2 * count }, (_, i) => i % 2 === 0 ? LARGE - i * 7919 : i % 5);

for (const [rows, dim] of [[0, 4], [1, 1], [7, 257], [257, 7], [3, 8]] as const) {
  gpuTest(`normals [${rows}, ${dim}] and uniforms [${rows}] are those of the host`, async (gpu) => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const pairs = rowsOf(rows);
    const draw = { seed: 0xdeadbeef, stream: 3, rows: scope.upload(pairs, [rows, 2]) };
    const keys = Array.from(
      { length: rows },
      (_, r) => rowKey(draw.seed, draw.stream, pairs[2 * r], pairs[2 * r + 1]),
    );
    const got = await gpu.read(normals(g, [rows, dim], draw));
    const expected = keys.flatMap((key) => Array.from({ length: dim }, (_, i) => normalOf(key, i)));
    // The radius near 0 is the root of a float32 logarithm near 0: hence 1e-5.
    assertClose(got, expected, 1e-5, "normals");
    assert.deepEqual(await gpu.read(uniforms(g, draw)), Float32Array.from(keys, uniformOf));
  });
}

gpuTest("a row's numbers depend on nothing but its own counter", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const pairs = Uint32Array.of(5, 0, 9, 1, 5, 1, 9, 0);
  const read = async (rows: Uint32Array, dim: number, seed = 1, stream = 2) => {
    const draw = { seed, stream, rows: scope.upload(rows, [rows.length / 2, 2]) };
    return await gpu.read(normals(g, [rows.length / 2, dim], draw));
  };
  const all = await read(pairs, 10);
  assert.deepEqual(await read(pairs.slice(2, 4), 10), all.slice(10, 20));
  assert.deepEqual(await read(pairs.slice(2, 4), 3), all.slice(10, 13));
  assert.equal(new Set(all).size, all.length);
  assert.notDeepEqual(await read(pairs, 10, 2), all);
  assert.notDeepEqual(await read(pairs, 10, 1, 3), all);
});

gpuTest("moments of 1e5 normals and uniforms", async (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const count = 100_000;
  const pairs = Uint32Array.from({ length: 2 * count }, (_, i) => i >> 1);
  const few = scope.upload(pairs.slice(0, 200), [100, 2]);
  const normal = await gpu.read(normals(g, [100, 1000], { seed: 7, stream: 0, rows: few }));
  const moment = (numbers: Float32Array, power: number, center = 0) =>
    numbers.reduce((sum, x) => sum + (x - center) ** power, 0) / numbers.length;
  // Five standard errors of each moment.
  const near = (value: number, expected: number, variance: number) =>
    assert.ok(Math.abs(value - expected) < 5 * Math.sqrt(variance / count), `${value}`);
  near(moment(normal, 1), 0, 1);
  near(moment(normal, 2), 1, 2);
  near(moment(normal, 3), 0, 15);
  near(moment(normal, 4), 3, 96);
  const neighbours = normal.reduce((sum, x, i) => sum + x * (normal[i ^ 1] ?? 0), 0) / count;
  near(neighbours, 0, 2);

  const rows = scope.upload(pairs, [count, 2]);
  const uniform = await gpu.read(uniforms(g, { seed: 7, stream: 0, rows }));
  near(moment(uniform, 1), 0.5, 1 / 12);
  near(moment(uniform, 2, 0.5), 1 / 12, 1 / 180);
  assert.ok(uniform.every((u) => u >= 0 && u < 1));
});

gpuTest("random refuses rows that are not u32 pairs", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const draw = { seed: 1, stream: 1, rows: scope.zeros([3, 2]) };
  assert.throws(
    () => normals(g, [3, 2], draw),
    /TypeError: random: rows are \[3, 2\]; expected u32 \[3, 2\]/,
  );
  const rows = scope.zeros([3, 2], "u32");
  assert.throws(() => uniforms(g, { seed: -1, stream: 1, rows }), /'seed' must be u32, got -1/);
});
