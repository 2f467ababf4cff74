/** The linear layer: values and gradients of both kernel forms, 16-bit weights, adapters, ranges, errors. */
import assert from "node:assert/strict";
import process from "node:process";
import { Graph } from "../../autograd/tape.ts";
import { float16ToFloat32 } from "../../io/float16.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import {
  chooseLinear,
  columnSum,
  linear,
  type LinearKernels,
  type LinearOptions,
  matmulNN,
  matmulNT,
  matmulTN,
  setLinearKernels,
  tuneLinear,
} from "../../ops/linear.ts";
import { transpose } from "../../llm/weights.ts";
import { assertClose, checkOp, gpuTest, type Input } from "../check_op.ts";
import { narrowed } from "../narrowed.ts";
import { normals } from "../random.ts";
import { linear as reference } from "../reference/linear.ts";

const FORMS: readonly LinearKernels[] = [
  { form: "tiled", tiles: {} },
  { form: "subgroup", tiles: {} },
  { form: "subgroup", tiles: allTiles(8, 4) },
  { form: "subgroup", tiles: allTiles(16, 8) },
];

function allTiles(R: number, C: number): LinearKernels["tiles"] {
  return {
    nt: { R, C },
    ntHalf: { R, C },
    nn: { R, C },
    nnHalf: { R, C },
    tn: { R: Math.max(32, R), C },
  };
}

/** Runs `body` under every form that this adapter has, and puts the choice back. */
async function underForms(
  gpu: Gpu,
  forms: readonly LinearKernels[],
  body: () => Promise<void>,
): Promise<void> {
  const before = chooseLinear(gpu);
  try {
    for (const form of forms) {
      if (form.form === "subgroup" && gpu.info.subgroupSize !== 8) {
        console.log("skipped the subgroup form: this adapter has no subgroups of 8");
        continue;
      }
      setLinearKernels(gpu, form);
      await body();
    }
  } finally {
    setLinearKernels(gpu, before);
  }
}

const TYPES = ["f32", "bf16", "f16"] as const;
const HALF = ["bf16", "f16"] as const;

interface Case {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly bias?: boolean;
  readonly rank?: number;
  /** The weight's type. @default {"f32"} */
  readonly dtype?: typeof TYPES[number];
  readonly transposed?: boolean;
  readonly samples?: number;
}

async function checkCase(gpu: Gpu, c: Case): Promise<void> {
  const { m, n, k, rank = 0, dtype = "f32" } = c;
  const frozen = dtype !== "f32" || c.transposed;
  const scale = 0.75;
  const weight = narrowed(normals(5, n * k), dtype).values;
  const inputs: Record<string, Input> = { x: { shape: [m, k] } };
  if (!frozen) inputs.weight = { shape: [n, k], data: weight, parameter: true };
  if (c.bias) inputs.bias = { shape: [n], parameter: true };
  if (rank > 0) {
    inputs.a = { shape: [rank, k], parameter: true };
    inputs.b = { shape: [n, rank] };
  }
  await checkOp<string>(gpu, {
    inputs,
    samples: c.samples ?? 40,
    op: (g, t) => {
      const upload = (numbers: Float32Array, shape: number[]) =>
        g.scope.upload(narrowed(numbers, dtype).data, shape);
      const options: LinearOptions = {
        bias: t.bias,
        lora: rank > 0 ? { a: t.a, b: t.b, scale } : undefined,
        transposed: c.transposed ? upload(transpose(weight, n, k), [k, n]) : undefined,
      };
      return linear(g, t.x, t.weight ?? upload(weight, [n, k]), options);
    },
    reference: (v) =>
      reference({
        x: v.x,
        weight: v.weight ?? weight,
        bias: v.bias,
        a: v.a,
        b: v.b,
        scale,
        m,
        n,
        k,
        rank,
      }),
  });
}

/** CPU time of this process: unlike the wall clock, not moved by what else runs on the machine. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const BOTH = FORMS.slice(0, 2);

for (const dtype of TYPES) {
  gpuTest(`linear: odd sizes, ${dtype}`, async (gpu) => {
    await underForms(gpu, BOTH, async () => {
      const bias = dtype === "f32";
      for (const m of [1, 7]) {
        for (const n of [1, 7]) {
          for (const k of [1, 7]) await checkCase(gpu, { m, n, k, dtype, bias });
        }
      }
      await checkCase(gpu, { m: 257, n: 7, k: 7, dtype, samples: 8 });
      await checkCase(gpu, { m: 7, n: 257, k: 7, dtype, samples: 8 });
      await checkCase(gpu, { m: 7, n: 7, k: 257, dtype, samples: 8 });
    });
  });
}

gpuTest("linear: every finite f16 is widened exactly, forward and backward", async (gpu) => {
  const size = 256;
  const words = Uint16Array.from(
    { length: size * size },
    (_, code) => (code & 0x7c00) === 0x7c00 ? 0 : code, // an infinity times 0 is NaN
  );
  const expected = float16ToFloat32(words).map((x) => x + 0); // a sum of zeros is +0
  await underForms(gpu, BOTH, async () => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const unit = Float32Array.from(
      { length: size * size },
      (_, i) => Number(i % size === Math.floor(i / size)),
    );
    const x = g.watch(scope.upload(unit, [size, size]));
    const weight = scope.upload(new Float16Array(words.buffer), [size, size]);
    const y = linear(g, x, weight);
    assert.deepEqual(transpose(await gpu.read(y), size, size), expected);
    g.backward([y, scope.upload(unit, [size, size])]);
    assert.deepEqual(await gpu.read(g.grad(x)), expected);
  });
});

gpuTest("linear: every register tile", async (gpu) => {
  await underForms(gpu, FORMS, async () => {
    await checkCase(gpu, { m: 67, n: 68, k: 68, bias: true, rank: 4 });
    await checkCase(gpu, { m: 67, n: 68, k: 72, dtype: "bf16" });
  });
  // One case of the highest: some drivers take half a minute to compile it.
  await underForms(gpu, [{ form: "subgroup", tiles: allTiles(64, 4) }], async () => {
    await checkCase(gpu, { m: 131, n: 132, k: 132, bias: true, samples: 6 });
  });
});

gpuTest("linear: sizes inside and beyond one tile, few rows", async (gpu) => {
  await underForms(gpu, BOTH, async () => {
    await checkCase(gpu, { m: 33, n: 132, k: 20, bias: true });
    for (const dtype of HALF) {
      await checkCase(gpu, { m: 65, n: 36, k: 68, dtype, transposed: true, rank: 16 });
    }
    for (const m of [1, 8, 9, 17]) await checkCase(gpu, { m, n: 40, k: 36, bias: true, rank: 16 });
  });
});

gpuTest("linear: adapters of rank 1, 4 and 16", async (gpu) => {
  await underForms(gpu, BOTH, async () => {
    for (const rank of [1, 4, 16]) {
      await checkCase(gpu, { m: 7, n: 5, k: 9, rank });
      await checkCase(gpu, { m: 35, n: 44, k: 52, rank, transposed: true, bias: true });
      for (const dtype of HALF) {
        await checkCase(gpu, { m: 35, n: 44, k: 52, rank, dtype });
        await checkCase(gpu, { m: 9, n: 3, k: 5, rank, dtype, transposed: true });
      }
    }
  });
});

gpuTest("linear: more tokens than one weight-gradient dispatch takes", async (gpu) => {
  await underForms(gpu, BOTH, async () => {
    await checkCase(gpu, { m: 515, n: 8, k: 12, samples: 6, bias: true });
  });
});

gpuTest("linear: no rows", async (gpu) => {
  await underForms(gpu, BOTH, async () => {
    await checkCase(gpu, { m: 0, n: 7, k: 5, bias: true, rank: 1 });
    await checkCase(gpu, { m: 0, n: 8, k: 4, bias: true, rank: 4 });
  });
});

gpuTest("linear: runs are bit-identical", async (gpu) => {
  await underForms(gpu, BOTH, async () => {
    const once = async () => {
      using scope = gpu.scope();
      const g = new Graph(gpu, scope);
      const parameter = (seed: number, shape: number[]) => {
        const t = scope.upload(normals(seed, shape.reduce((p, q) => p * q)), shape);
        t.gradient = scope.zeros(shape);
        return t;
      };
      const x = parameter(1, [600, 128]);
      const weight = parameter(2, [68, 128]);
      const bias = parameter(3, [68]);
      const lora = { a: parameter(4, [4, 128]), b: parameter(5, [68, 4]), scale: 2 };
      const y = linear(g, x, weight, { bias, lora });
      g.backward([y, scope.upload(normals(6, 600 * 68), [600, 68])]);
      const read = [y, ...[x, weight, bias, lora.a, lora.b].map((p) => p.gradient!)];
      return await Promise.all(read.map((t) => gpu.readback(t).data()));
    };
    assert.deepEqual(await once(), await once());
  });
});

gpuTest("raw products: row stride, column offset, accumulation", async (gpu) => {
  await underForms(gpu, BOTH, async () => {
    const [m, n, k, ldy, column] = [37, 14, 24, 36, 16];
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const [hx, hw] = [normals(1, m * k), normals(2, n * k)];
    const [x, w] = [scope.upload(hx, [m, k]), scope.upload(hw, [n, k])];
    const y = scope.zeros([m, ldy]);
    matmulNT(g, x, w, y, { column });
    matmulNT(g, x, w, y, { column, accumulate: true, scale: 0.5 });
    const got = await gpu.read(y);
    const expected = reference({ x: hx, weight: hw, m, n, k }).map((v) => 1.5 * v);
    const inside = Float64Array.from(expected, (_, i) => {
      return got[Math.floor(i / n) * ldy + column + i % n];
    });
    assertClose(inside, expected, 1e-5, "y");
    assert.ok(got.every((v, i) => i % ldy >= column || v === 0), "columns before are untouched");
    assert.ok(got.every(Number.isFinite), "padding is finite");

    const hdy = normals(3, m * ldy).map((v, i) => i % ldy >= column + n ? 0 : v);
    const dy = scope.upload(hdy, [m, ldy]);
    const dx = scope.zeros([m, k]);
    const dw = scope.zeros([n, k]);
    const sums = scope.zeros([ldy]);
    matmulNN(g, dy, w, dx, { column });
    matmulNN(g, dy, w, dx, { column });
    matmulTN(g, dy, x, dw, { column });
    matmulTN(g, dy, x, dw, { column });
    columnSum(g, dy, sums);
    columnSum(g, dy, sums);
    const [edx, edw] = [new Float64Array(m * k), new Float64Array(n * k)];
    const esums = new Float64Array(ldy);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < ldy; j++) esums[j] += 2 * hdy[i * ldy + j];
      for (let j = 0; j < n; j++) {
        const d = 2 * hdy[i * ldy + column + j];
        for (let q = 0; q < k; q++) edx[i * k + q] += d * hw[j * k + q];
        for (let q = 0; q < k; q++) edw[j * k + q] += d * hx[i * k + q];
      }
    }
    assertClose(await gpu.read(dx), edx, 1e-5, "dx");
    assertClose(await gpu.read(dw), edw, 1e-5, "dw");
    assertClose(await gpu.read(sums), esums, 1e-5, "column sums");
  });
});

gpuTest("linear: a weight larger than one binding is walked in ranges of rows", async (gpu) => {
  await underForms(gpu, BOTH, async () => {
    const [m, n, k, rank] = [5, 700, 8, 4];
    const limits = { ...gpu.limits, maxBinding: 256 * k * 4 };
    const small = new Proxy(gpu, {
      get: (target, name) => {
        if (name === "limits") return limits;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    setLinearKernels(small, chooseLinear(gpu));
    for (const dtype of TYPES) {
      using scope = gpu.scope();
      const g = new Graph(small, scope);
      const inner = dtype === "f32" ? k : 2 * k;
      const { data, values } = narrowed(normals(2, n * inner), dtype);
      const weight = scope.upload(data, [n, inner]);
      if (dtype === "f32") weight.gradient = scope.zeros([n, inner]);
      const [hx, hb, ha, hbb] = [
        normals(1, m * inner),
        normals(3, n),
        normals(4, rank * inner),
        normals(5, n * rank),
      ];
      const x = g.watch(scope.upload(hx, [m, inner]));
      const lora = {
        a: scope.upload(ha, [rank, inner]),
        b: scope.upload(hbb, [n, rank]),
        scale: 0.5,
      };
      const y = linear(g, x, weight, { bias: scope.upload(hb), lora });
      const expected = reference({
        x: hx,
        weight: values,
        bias: hb,
        a: ha,
        b: hbb,
        scale: 0.5,
        m,
        n,
        k: inner,
        rank,
      });
      assertClose(await gpu.read(y), expected, 2e-5, "y");
      const hdy = normals(6, m * n);
      g.backward([y, scope.upload(hdy, [m, n])]);
      const full = Float64Array.from(values, (w, i) => {
        const [j, q] = [Math.floor(i / inner), i % inner];
        let sum = 0;
        for (let r = 0; r < rank; r++) sum += hbb[j * rank + r] * ha[r * inner + q];
        return w + 0.5 * sum;
      });
      const [edx, edw] = [new Float64Array(m * inner), new Float64Array(n * inner)];
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          for (let q = 0; q < inner; q++) {
            edx[i * inner + q] += hdy[i * n + j] * full[j * inner + q];
            edw[j * inner + q] += hdy[i * n + j] * hx[i * inner + q];
          }
        }
      }
      assertClose(await gpu.read(g.grad(x)), edx, 2e-5, "d_x");
      if (weight.gradient) assertClose(await gpu.read(weight.gradient), edw, 2e-5, "d_weight");
    }
  });
});

gpuTest("linear: shapes that do not fit are refused", (gpu) => {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const zeros = (...shape: number[]): Tensor => scope.zeros(shape);
  const x = zeros(2, 3);
  const weight = zeros(4, 3);
  const refused = (message: string, run: () => unknown) =>
    assert.throws(run, { name: "TypeError", message });
  refused(
    "linear: x is [2, 3] but weight is [4, 5]; expected weight [out, 3]",
    () => linear(g, x, zeros(4, 5)),
  );
  refused(
    "linear: weight is [4, 3] but bias is [3]; expected bias [4] f32",
    () => linear(g, x, weight, { bias: zeros(3) }),
  );
  refused(
    "linear: weight is [4, 3] but lora.a is [2, 4]; expected lora.a [rank, 3] f32",
    () => linear(g, x, weight, { lora: { a: zeros(2, 4), b: zeros(4, 2), scale: 1 } }),
  );
  refused(
    "linear: weight is [4, 3] and lora.a [2, 3], but lora.b is [4, 1]; expected [4, 2] f32",
    () => linear(g, x, weight, { lora: { a: zeros(2, 3), b: zeros(4, 1), scale: 1 } }),
  );
  refused(
    "linear: weight is [4, 3] but transposed is [4, 3]; expected [3, 4]",
    () => linear(g, x, weight, { transposed: zeros(4, 3) }),
  );
  refused("linear: x is [2, 3] u32; expected f32", () => {
    return linear(g, scope.zeros([2, 3], "u32"), weight);
  });
  refused("linear: x is [2, 3] f16; expected f32", () => {
    return linear(g, scope.zeros([2, 3], "f16"), weight);
  });
  refused("linear: weight is [4, 3] i32; expected f32, bf16 or f16", () => {
    return linear(g, x, scope.zeros([4, 3], "i32"));
  });
  for (const dtype of HALF) {
    const trained = scope.zeros([4, 3], dtype);
    trained.gradient = zeros(4, 3);
    refused(
      `linear: weight is [4, 3] ${dtype} with a gradient; 16-bit weights are frozen, widen it to f32 to train`,
      () => linear(g, x, trained),
    );
  }
});

gpuTest("linear: the choice of kernels", async (gpu) => {
  const before = chooseLinear(gpu);
  assert.throws(
    () => setLinearKernels(gpu, { form: "tiled", tiles: { nt: { R: 5, C: 8 } } }),
    {
      name: "RangeError",
      message: "linear: tile 'nt' is 5x8; R must be one of 8, 16, 32, 64 and C 4 or 8",
    },
  );
  const tuned = await tuneLinear(gpu, cpuMs);
  assert.deepEqual(JSON.parse(JSON.stringify(tuned)), tuned);
  assert.equal(tuned.form, gpu.isSoftware ? "subgroup" : "tiled");
  assert.deepEqual(chooseLinear(gpu), tuned);
  setLinearKernels(gpu, before);
});
