/** Causal attention, forward and backward, at the shapes of two models. */
import { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Scope } from "../gpu/pool.ts";
import { attention, layoutSegment, wholeRows } from "../ops/attention.ts";
import { type Bench, listTable, measureRows, type Row, type Spec } from "./rows.ts";

interface Shape {
  readonly name: string;
  readonly rows: number;
  readonly length: number;
  readonly numHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
}

const NANO = { numHeads: 4, numKeyValueHeads: 2, headDim: 32 };
const SMOLLM2 = { numHeads: 9, numKeyValueHeads: 3, headDim: 64 };
const SHAPES: readonly Shape[] = [
  { name: "nano 4/2 x 32, 32 rows of 96", rows: 32, length: 96, ...NANO },
  { name: "SmolLM2 9/3 x 64, 1 row of 128", rows: 1, length: 128, ...SMOLLM2 },
  { name: "SmolLM2 9/3 x 64, 1 row of 512", rows: 1, length: 512, ...SMOLLM2 },
];

/** Measures forward and backward; prints a table. */
export async function benchAttention(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  for (const shape of SHAPES.slice(0, bench.quick ? 2 : SHAPES.length)) {
    using scope = bench.gpu.scope();
    rows.push(...await measureRows(bench, "attention", specs(bench.gpu, scope, shape)));
  }
  console.log(listTable(rows));
  return rows;
}

function specs(gpu: Gpu, outer: Scope, shape: Shape): Spec[] {
  const { rows, length, numHeads, numKeyValueHeads, headDim } = shape;
  const layout = layoutSegment(outer, wholeRows(Array(rows).fill(length)));
  const tokens = rows * length;
  const q = outer.zeros([tokens, numHeads * headDim]);
  const keys = outer.zeros([tokens, numKeyValueHeads * headDim]);
  const values = outer.zeros(keys.shape);
  const d_out = outer.zeros(q.shape);
  // Of each (query, key) pair that the causal mask leaves: forward two products of size E, backward seven (the query
  // gradient three, that of keys and values four), two operations an element.
  const pairs = rows * numHeads * length * (length + 1) / 2;
  const run = (g: Graph) => attention(g, q, keys, values, layout, shape);
  return [
    {
      name: `${shape.name}, forward`,
      flops: 4 * headDim * pairs,
      target: { gflops: 30 },
      prepare: (scope) => () => run(new Graph(gpu, scope, { training: false })),
    },
    {
      name: `${shape.name}, backward`,
      flops: 14 * headDim * pairs,
      target: { gflops: 25 },
      maxRepeats: 8,
      prepare: (scope) => {
        const g = new Graph(gpu, scope);
        for (const input of [q, keys, values]) g.watch(input);
        const out = run(g);
        return () => g.backward([out, d_out]);
      },
    },
  ];
}
