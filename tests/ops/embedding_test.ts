import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { embedding } from "../../ops/embedding.ts";
import { gatherIndex } from "../../ops/gather.ts";
import { assertClose, checkOp, gpuTest } from "../check_op.ts";
import { uniforms } from "../random.ts";
import { bf16Value, embedding as reference } from "../reference/embedding.ts";

const draw = (count: number, below: number) => {
  const next = uniforms(41);
  return Uint32Array.from({ length: count }, () => Math.floor(next() * below));
};

for (const [vocabulary, dim] of [[1, 1], [7, 7], [257, 8], [31, 64], [514, 1]]) {
  for (const count of [0, 1, 7, 257]) {
    for (const maxBinding of [undefined, 1024]) {
      const ranges = maxBinding ? `, ${maxBinding} bytes at once` : "";
      gpuTest(`embedding of ${count} from f32 [${vocabulary}, ${dim}]${ranges}`, async (gpu) => {
        const ids = draw(count, vocabulary);
        await checkOp(gpu, {
          inputs: { table: { shape: [vocabulary, dim], parameter: true } },
          op: (g, { table }) => embedding(g, table, ids, { maxBinding }),
          reference: ({ table }) => reference(table, dim, ids),
        });
      });

      gpuTest(`embedding of ${count} from bf16 [${vocabulary}, ${dim}]${ranges}`, async (gpu) => {
        using scope = gpu.scope();
        const next = uniforms(42);
        const bits = Uint16Array.from({ length: vocabulary * dim }, () => {
          const word = Math.floor(next() * 65536);
          return (word & 0x7f80) === 0x7f80 ? word & 0xbfff : word; // no infinities, no NaN
        });
        const ids = draw(count, vocabulary);
        const table = scope.upload(bits, [vocabulary, dim]);
        const out = embedding(new Graph(gpu, scope), table, ids, { maxBinding });
        const expected = reference(Float64Array.from(bits, bf16Value), dim, ids);
        assert.deepEqual(await gpu.read(out), Float32Array.from(expected));
      });
    }
  }
}

for (const type of ["f32", "bf16"] as const) {
  gpuTest(`embedding from ${type} by prepared ids and by ids on the device`, async (gpu) => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope, { training: false });
    const table = type === "f32"
      ? scope.upload(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2])
      : scope.upload(Uint16Array.of(0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0), [3, 2]);
    const prepared = embedding(g, table, gatherIndex(scope, Uint32Array.of(2, 0), 3));
    assertClose(await gpu.read(prepared), [5, 6, 1, 2], 0, "prepared");
    const onDevice = embedding(g, table, scope.upload(Uint32Array.of(1, 4_000_000_000)));
    assertClose(await gpu.read(onDevice), [3, 4, 5, 6], 0, "on the device");
  });
}

gpuTest("embedding refuses an id that is not in the table", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  for (const table of [scope.zeros([514, 2]), scope.zeros([514, 2], "bf16")]) {
    assert.throws(() => embedding(g, table, Uint32Array.of(1, 600)), {
      name: "RangeError",
      message: "embedding: token id 600 at position 1 must be below the number of rows, 514",
    });
  }
  assert.throws(() => embedding(g, scope.zeros([6]), Uint32Array.of(1)), {
    name: "TypeError",
    message: "embedding: table is [6]; expected [V, D] f32 or bf16",
  });
});
