/**
 * Kernels that move numbers rather than multiply them, at the nano model's shapes: ms, and GB/s by the bytes that the
 * formula has to read and write once.
 */
import { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { loadLoop, measure, profileSteps } from "../io/measure.ts";
import { add } from "../ops/add.ts";
import { crossEntropy } from "../ops/cross_entropy.ts";
import { embedding } from "../ops/embedding.ts";
import { rmsNorm } from "../ops/rms_norm.ts";
import { rope, ropeTables } from "../ops/rope.ts";
import { swiglu } from "../ops/swiglu.ts";
import { AdamW } from "../training/adamw.ts";
import { type Bench, listTable, measureRows, type Row, type Spec, withTarget } from "./rows.ts";

const TOKENS = 3072;
const WIDTH = 128;
const HIDDEN = 352;
const MEGA = 1 << 20;

/** Measures the kernels; prints a table. */
export async function benchStreaming(bench: Bench): Promise<Row[]> {
  const { gpu } = bench;
  using scope = gpu.scope();
  const tensor = scope.zeros([MEGA]);
  tensor.gradient = scope.zeros([MEGA]);
  using optimizer = new AdamW(gpu, [{ name: "w", tensor }], { lr: 1e-3 });
  const memory = { ...loadLoop(gpu, scope, 64 << 20), maxRepeats: 1 };
  const rows = await measureRows(bench, "streaming", [
    ...(bench.quick ? [] : [memory]),
    ...normSpecs(gpu, scope),
    ...swigluSpecs(gpu, scope),
    ...elementSpecs(gpu, scope),
    optimizerSpec(optimizer, tensor),
  ]);
  const loads = rows[1].gigabytes!;
  rows.push(...await crossEntropyRows(bench, loads, TOKENS, 1024, 4));
  if (!bench.quick) rows.push(...await crossEntropyRows(bench, loads, 256, 49152, 15));
  console.log(listTable(rows));
  return rows;
}

/** Forward of an operation, and backward to its watched inputs, from a given gradient of its output. */
function pair(
  gpu: Gpu,
  scope: Scope,
  name: string,
  inputs: readonly Tensor[],
  op: (g: Graph) => Tensor,
  { forward, backward }: Record<"forward" | "backward", { bytes: number; ms?: number }>,
): Spec[] {
  const target = (ms: number | undefined) => ms === undefined ? {} : { target: { ms } };
  const d_out = scope.zeros([TOKENS, inputs[0].shape[1]]);
  return [
    {
      name: `${name}, forward`,
      bytes: forward.bytes,
      ...target(forward.ms),
      prepare: (inner) => () => {
        op(new Graph(gpu, inner, { training: false }));
      },
    },
    {
      name: `${name}, backward`,
      bytes: backward.bytes,
      ...target(backward.ms),
      maxRepeats: 16,
      prepare: (inner) => {
        const g = new Graph(gpu, inner);
        inputs.forEach((input) => g.watch(input));
        const out = op(g);
        return () => g.backward([out, d_out]);
      },
    },
  ];
}

function normSpecs(gpu: Gpu, scope: Scope): Spec[] {
  const x = scope.zeros([TOKENS, WIDTH]);
  const weight = scope.zeros([WIDTH]);
  weight.gradient = scope.zeros([WIDTH]);
  return pair(gpu, scope, `rms_norm ${TOKENS}x${WIDTH}`, [x], (g) => rmsNorm(g, x, weight, 1e-5), {
    forward: { bytes: 2 * x.byteLength, ms: 0.37 },
    backward: { bytes: 3 * x.byteLength, ms: 0.75 },
  });
}

function swigluSpecs(gpu: Gpu, scope: Scope): Spec[] {
  const gate = scope.zeros([TOKENS, HIDDEN]);
  const up = scope.zeros([TOKENS, HIDDEN]);
  const name = `swiglu ${TOKENS}x${HIDDEN}`;
  return pair(gpu, scope, name, [gate, up], (g) => swiglu(g, gate, up), {
    forward: { bytes: 3 * gate.byteLength, ms: 2 },
    backward: { bytes: 5 * gate.byteLength, ms: 3.1 },
  });
}

function elementSpecs(gpu: Gpu, scope: Scope): Spec[] {
  const x = scope.zeros([TOKENS, WIDTH]);
  const y = scope.zeros([TOKENS, WIDTH]);
  const ids = scope.upload(Uint32Array.from({ length: TOKENS }, (_, i) => i * 97 % 514));
  const table = scope.zeros([514, WIDTH]);
  const headDim = 32;
  const { cos, sin } = ropeTables({ headDim, theta: 10000, maxPositions: 96 });
  const tables = { cos: scope.upload(cos, [96, 16]), sin: scope.upload(sin, [96, 16]) };
  const positions = scope.upload(Uint32Array.from({ length: TOKENS }, (_, i) => i % 96));
  const spec = (name: string, bytes: number, op: (g: Graph) => void, ms?: number): Spec => ({
    name: `${name} ${TOKENS}x${WIDTH}, forward`,
    bytes,
    ...(ms === undefined ? {} : { target: { ms } }),
    prepare: (inner) => () => op(new Graph(gpu, inner, { training: false })),
  });
  const { byteLength } = x;
  return [
    spec("add", 3 * byteLength, (g) => add(g, x, y)),
    spec("rope", 2 * byteLength, (g) => rope(g, x, tables, positions, { numHeads: 4, headDim })),
    spec("embedding", 2 * byteLength, (g) => embedding(g, table, ids), 0.5),
  ];
}

function optimizerSpec(optimizer: AdamW, tensor: Tensor): Spec {
  return {
    name: "AdamW, 2^20 parameters",
    bytes: 7 * tensor.byteLength,
    target: { ms: 2.6 },
    prepare: () => () => optimizer.step(),
  };
}

/**
 * The two cross-entropy kernels without their matrix products: their part of the whole operation by timestamps, of its
 * time by the clock.
 */
async function crossEntropyRows(
  { gpu, options }: Bench,
  loads: number,
  rows: number,
  vocab: number,
  targetMs: number,
): Promise<Row[]> {
  using scope = gpu.scope();
  const hidden = scope.zeros([rows, 16]);
  const weight = scope.zeros([vocab, 16]);
  const labels = Uint32Array.from({ length: rows }, (_, i) => i * 97 % vocab);
  const step = (inner: Scope) => {
    const g = new Graph(gpu, inner);
    g.watch(hidden);
    g.backward([crossEntropy(g, hidden, weight, labels)]);
  };
  const run = { name: "", prepare: (inner: Scope) => () => step(inner) };
  await measure(gpu, [run], { rounds: 1 }); // compiles
  const times: number[] = [];
  for (let round = 0; round < (options.rounds ?? 5); round++) {
    const profile = await profileSteps(gpu, step, 1);
    if (!profile) return [];
    const sum = profile.kernels.reduce((total, { ms }) => total + ms, 0);
    const own = profile.kernels.filter(({ path }) => /cross_entropy/.test(path))
      .reduce((total, { ms }) => total + ms, 0);
    times.push(profile.ms * profile.busy * own / sum);
  }
  times.sort((a, b) => a - b);
  const bytes = 3 * rows * vocab * 4;
  const gigabytes = bytes / times[0] / 1e6;
  const row: Row = {
    group: "streaming",
    name: `cross-entropy kernels with gradient ${rows}x${vocab}`,
    ms: times[0],
    medianMs: times[times.length >> 1],
    rounds: times.length,
    repeats: 1,
    gigabytes,
    share: gigabytes / loads,
  };
  return [withTarget(row, { ms: targetMs })];
}
