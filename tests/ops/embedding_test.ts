import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { embedding } from "../../ops/embedding.ts";
import { gatherIndex } from "../../ops/gather.ts";
import { assertClose, checkOp, gpuTest } from "../check_op.ts";
import { uniforms } from "../random.ts";
import { bf16Value, embedding as reference, f16Value } from "../reference/embedding.ts";

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

      gpuTest(`embedding of ${count} from f16 [${vocabulary}, ${dim}]${ranges}`, async (gpu) => {
        using scope = gpu.scope();
        const next = uniforms(43);
        const bits = Uint16Array.from({ length: vocabulary * dim }, () => {
          // Of four numbers one is subnormal and one infinite.
          const [sign, mantissa, kind] = [next() < 0.5 ? 0x8000 : 0, next() * 1024, next() * 4];
          if (kind < 1) return sign | mantissa;
          return kind < 2 ? sign | 0x7c00 : sign | (next() * 31 << 10) | mantissa;
        });
        const ids = draw(count, vocabulary);
        const table = scope.upload(new Float16Array(bits.buffer), [vocabulary, dim]);
        const out = embedding(new Graph(gpu, scope), table, ids, { maxBinding });
        const expected = reference(Float64Array.from(bits, f16Value), dim, ids);
        assert.deepEqual(await gpu.read(out), Float32Array.from(expected));
      });
    }
  }
}

const SIX = {
  f32: Float32Array.of(1, 2, 3, 4, 5, 6),
  bf16: Uint16Array.of(0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0),
  f16: Float16Array.of(1, 2, 3, 4, 5, 6),
};
for (const [type, data] of Object.entries(SIX)) {
  gpuTest(`embedding from ${type} by prepared ids and by ids on the device`, async (gpu) => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope, { training: false });
    const table = scope.upload(data, [3, 2]);
    const prepared = embedding(g, table, gatherIndex(scope, Uint32Array.of(2, 0), 3));
    assertClose(await gpu.read(prepared), [5, 6, 1, 2], 0, "prepared");
    const onDevice = embedding(g, table, scope.upload(Uint32Array.of(1, 4_000_000_000)));
    assertClose(await gpu.read(onDevice), [3, 4, 5, 6], 0, "on the device");
  });
}

gpuTest("embedding refuses an id that is not in the table", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  for (const dtype of ["f32", "bf16", "f16"] as const) {
    const table = scope.zeros([514, 2], dtype);
    assert.throws(() => embedding(g, table, Uint32Array.of(1, 600)), {
      name: "RangeError",
      message: "embedding: token id 600 at position 1 must be below the number of rows, 514",
    });
  }
  assert.throws(() => embedding(g, scope.zeros([6]), Uint32Array.of(1)), {
    name: "TypeError",
    message: "embedding: table is [6]; expected [V, D] f32, bf16 or f16",
  });
});
