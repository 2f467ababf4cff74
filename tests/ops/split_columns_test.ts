import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { splitColumns } from "../../ops/split_columns.ts";
import { checkOp, gpuTest } from "../check_op.ts";

for (const [rows, widths] of [[1, [1]], [7, [3, 1, 5]], [257, [2, 2, 2]], [0, [4, 4]]] as const) {
  gpuTest(`splitColumns ${rows} rows into ${widths.join(" + ")}`, async (gpu) => {
    const width = widths.reduce((a: number, b: number) => a + b, 0);
    await checkOp(gpu, {
      inputs: { x: { shape: [rows, width] } },
      op: (g, { x }) => splitColumns(g, x, widths),
      reference: ({ x }) => {
        let begin = 0;
        return widths.map((columns) => {
          const first = begin;
          begin += columns;
          return Float64Array.from(
            { length: rows * columns },
            (_, i) => x[Math.floor(i / columns) * width + first + i % columns],
          );
        });
      },
    });
  });
}

gpuTest("splitColumns refuses widths that do not add up", (gpu) => {
  using scope = gpu.scope();
  const x = scope.zeros([2, 5], "f32", "x");
  const g = new Graph(gpu, scope);
  assert.throws(() => splitColumns(g, x, [2, 2]), /widths 2 \+ 2 do not add up to x\[2, 5\]/);
});
