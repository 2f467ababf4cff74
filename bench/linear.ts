/** The matrix products of linear layers at the shapes of three models. */
import { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Scope } from "../gpu/pool.ts";
import { linear, matmulNN, matmulNT, matmulTN } from "../ops/linear.ts";
import { type Bench, matrixTable, measureRows, type Row, type Spec } from "./rows.ts";

/** A weight [n, k] and the rows m that it meets. */
interface Shape {
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

const NANO: readonly Shape[] = [
  { name: "nano q, o", m: 3072, n: 128, k: 128 },
  { name: "nano k, v", m: 3072, n: 64, k: 128 },
  { name: "nano gate, up", m: 3072, n: 352, k: 128 },
  { name: "nano down", m: 3072, n: 128, k: 352 },
];
const SMOLLM2: readonly Shape[] = [
  { name: "SmolLM2 q, o", m: 128, n: 576, k: 576 },
  { name: "SmolLM2 k, v", m: 128, n: 192, k: 576 },
  { name: "SmolLM2 gate, up", m: 128, n: 1536, k: 576 },
  { name: "SmolLM2 down", m: 128, n: 576, k: 1536 },
];
const LLAMA: readonly Shape[] = [
  { name: "Llama-1B q, o", m: 128, n: 2048, k: 2048 },
  { name: "Llama-1B gate, up", m: 128, n: 8192, k: 2048 },
];
const QUICK = ["nano gate, up", "SmolLM2 q, o", "SmolLM2 gate, up"];
const RANK = 16;

/** Measures every form at every shape; prints a table. */
export async function benchLinear(bench: Bench): Promise<Row[]> {
  const all = [...NANO, ...SMOLLM2, ...LLAMA];
  const rows: Row[] = [];
  for (const shape of all.filter(({ name }) => !bench.quick || QUICK.includes(name))) {
    using scope = bench.gpu.scope();
    rows.push(...await measureRows(bench, "linear", forms(bench, scope, shape)));
  }
  console.log(matrixTable(rows));
  return rows;
}

function forms({ gpu }: Bench, scope: Scope, { name, m, n, k }: Shape): Spec[] {
  const g = new Graph(gpu, scope, { training: false });
  const x = scope.zeros([m, k]);
  const y = scope.zeros([m, n]);
  const f32 = scope.zeros([n, k]);
  const bf16 = scope.zeros([n, k], "bf16");
  const flops = 2 * m * n * k;
  const spec = (form: string, share: number | undefined, run: () => void): Spec => ({
    name: `${name} ${m}x${n}x${k} | ${form}`,
    flops,
    prepare: () => run,
    ...(share === undefined ? {} : { target: { share } }),
  });
  return [
    spec("NT f32", 0.33, () => matmulNT(g, x, f32, y)),
    spec("NT bf16", k >= 384 ? 0.43 : undefined, () => matmulNT(g, x, bf16, y)),
    spec("NN f32", 0.3, () => matmulNN(g, y, f32, x)),
    spec("NN bf16", 0.3, () => matmulNN(g, y, bf16, x)),
    spec("TN", 0.22, () => matmulTN(g, y, x, f32)),
    adapter(gpu, scope, { name, m, n, k }),
  ];
}

/** A frozen bf16 layer with a trained adapter, forward and backward. */
function adapter(gpu: Gpu, outer: Scope, { name, m, n, k }: Shape): Spec {
  const trained = (shape: readonly number[]) => {
    const tensor = outer.zeros(shape);
    tensor.gradient = outer.zeros(shape);
    return tensor;
  };
  const lora = { a: trained([RANK, k]), b: trained([n, RANK]), scale: 1 };
  const x = outer.zeros([m, k]);
  const weight = outer.zeros([n, k], "bf16");
  const d_y = outer.zeros([m, n]);
  return {
    name: `${name} ${m}x${n}x${k} | bf16 + LoRA ${RANK}, step`,
    // Base product and its input gradient; z, its product, d_z, its product, d_a, d_b.
    flops: 4 * m * n * k + 6 * m * RANK * (n + k),
    maxRepeats: 4,
    prepare: (scope) => {
      const g = new Graph(gpu, scope);
      g.watch(x);
      return () => g.backward([linear(g, x, weight, { lora }), d_y]);
    },
  };
}
