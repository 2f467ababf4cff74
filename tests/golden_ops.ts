/** Golden case of single operations: outputs and the gradients of all inputs, as PyTorch computes them. */
import assert from "node:assert/strict";
import { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { transpose } from "../llm/weights.ts";
import { attention, layoutSegment } from "../ops/attention.ts";
import { crossEntropy, logProbs } from "../ops/cross_entropy.ts";
import { embedding } from "../ops/embedding.ts";
import { gather } from "../ops/gather.ts";
import { gaussianEntropy, gaussianLogProb, sampleGaussian } from "../ops/gaussian.ts";
import { gelu } from "../ops/gelu.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import { linear } from "../ops/linear.ts";
import { mse, squaredError } from "../ops/mse.ts";
import { rmsNorm } from "../ops/rms_norm.ts";
import { rope, ropeTables } from "../ops/rope.ts";
import { smoothDistance, smoothL1 } from "../ops/smooth_l1.ts";
import { swiglu } from "../ops/swiglu.ts";
import { AdamW } from "../training/adamw.ts";
import type { GoldenCase, Tolerance } from "./golden_case.ts";

interface OpCase {
  readonly inputs: readonly string[];
  readonly attributes: Readonly<Record<string, number>>;
  readonly tolerance: Tolerance;
}

/** Compares every operation of the case; an unknown one fails. */
export async function checkOps(gpu: Gpu, golden: GoldenCase): Promise<void> {
  for (const [name, op] of Object.entries(golden.json.ops as Record<string, OpCase>)) {
    const run = OPS[name.replace(/_below$/, "")] ??
      (name.startsWith("rotary") ? rotary : undefined);
    assert.ok(run, `operation '${name}' is not known to this test`);
    using check = new OpCheck(gpu, golden, name, op);
    await run(check);
  }
}

class OpCheck {
  readonly scope;
  readonly g: Graph;
  constructor(
    readonly gpu: Gpu,
    readonly golden: GoldenCase,
    readonly name: string,
    readonly op: OpCase,
  ) {
    this.scope = gpu.scope();
    this.g = new Graph(gpu, this.scope);
  }

  floats(name: string): Float32Array {
    return this.golden.floats(`${this.name}.${name}`);
  }

  ints(name: string): Int32Array {
    return this.golden.ints(`${this.name}.${name}`);
  }

  shape(name: string): number[] {
    return [...this.golden.shape(`${this.name}.${name}`)];
  }

  /** An input as a matrix of rows of its last dimension, with a gradient. */
  matrix(name: string): Tensor {
    const data = this.floats(name);
    const columns = this.shape(name).at(-1)!;
    return this.watched(data, [data.length / columns, columns]);
  }

  vector(name: string): Tensor {
    return this.watched(this.floats(name), this.shape(name));
  }

  watched(data: Float32Array, shape: readonly number[]): Tensor {
    return this.g.watch(this.scope.upload(data, shape));
  }

  async value(actual: Tensor | ArrayLike<number>, name: string): Promise<void> {
    const numbers = "allocation" in actual ? await this.gpu.read(actual) : actual;
    this.golden.close(numbers, `${this.name}.${name}`, this.op.tolerance);
  }

  /** Sends the recorded upstream back through outputs, then compares the gradients of inputs. */
  async gradients(
    outputs: readonly (readonly [Tensor, Float32Array])[],
    inputs: Readonly<Record<string, Tensor>>,
  ): Promise<void> {
    this.g.backward(...outputs.map(([out, d]) => [out, this.scope.upload(d, out.shape)] as const));
    for (const [name, x] of Object.entries(inputs)) {
      await this.value(this.g.grad(x), `grad_${name}`);
    }
  }

  [Symbol.dispose](): void {
    this.scope[Symbol.dispose]();
  }
}

const OPS: Readonly<Record<string, (c: OpCheck) => Promise<void>>> = {
  async rms_norm(c) {
    const [x, weight] = [c.matrix("x"), c.vector("weight")];
    const y = rmsNorm(c.g, x, weight, c.op.attributes.eps);
    await c.value(y, "y");
    await c.gradients([[y, c.floats("grad_y")]], { x, weight });
  },
  async layer_norm(c) {
    const [x, weight, bias] = [c.matrix("x"), c.vector("weight"), c.vector("bias")];
    const y = layerNorm(c.g, x, weight, bias, c.op.attributes.eps);
    await c.value(y, "y");
    await c.gradients([[y, c.floats("grad_y")]], { x, weight, bias });
  },
  async linear(c) {
    const [input, weight, bias] = [c.matrix("input"), c.matrix("weight"), c.vector("bias")];
    const y = linear(c.g, input, weight, { bias });
    await c.value(y, "y");
    await c.gradients([[y, c.floats("grad_y")]], { input, weight, bias });
  },
  async conv1d(c) {
    const [inputs, outputs] = c.shape("weight");
    const turned = transpose(c.floats("weight"), inputs, outputs);
    const weight = c.watched(turned, [outputs, inputs]);
    const [x, bias] = [c.matrix("x"), c.vector("bias")];
    const y = linear(c.g, x, weight, { bias });
    await c.value(y, "y");
    await c.gradients([[y, c.floats("grad_y")]], { x, bias });
    const d_weight = await c.gpu.read(c.g.grad(weight));
    await c.value(transpose(d_weight, outputs, inputs), "grad_weight");
  },
  async embedding(c) {
    const weight = c.matrix("weight");
    const y = embedding(c.g, weight, Uint32Array.from(c.ints("ids")));
    await c.value(y, "y");
    await c.gradients([[y, c.floats("grad_y")]], { weight });
  },
  attention: checkAttention,
  async swiglu_mlp(c) {
    const x = c.matrix("x");
    const [gate_proj, up_proj, down_proj] = ["gate_proj", "up_proj", "down_proj"]
      .map((name) => c.matrix(name));
    const inner = swiglu(c.g, linear(c.g, x, gate_proj), linear(c.g, x, up_proj));
    const y = linear(c.g, inner, down_proj);
    await c.value(y, "y");
    await c.gradients([[y, c.floats("grad_y")]], { x, gate_proj, up_proj, down_proj });
  },
  gelu_exact: (c) => elementwise(c, (g, x) => gelu(g, x, "erf")),
  gelu_new: (c) => elementwise(c, (g, x) => gelu(g, x, "tanh")),
  silu: (c) =>
    elementwise(
      c,
      (g, x) => swiglu(g, x, c.scope.upload(new Float32Array(x.size).fill(1), x.shape)),
    ),
  async log_softmax(c) {
    const { x, out } = everyLogProb(c);
    await c.value(out, "y");
    await c.gradients([[out, c.floats("grad_y")]], { x });
  },
  async softmax(c) {
    // softmax = exp(log_softmax), so its upstream gradient reaches log_softmax times softmax.
    const { x, out } = everyLogProb(c);
    const y = (await c.gpu.read(out)).map(Math.exp);
    await c.value(y, "y");
    const d_y = c.floats("grad_y");
    await c.gradients([[out, d_y.map((d, i) => d * y[i])]], { x });
  },
  async cross_entropy(c) {
    const logits = c.matrix("logits");
    const target = c.ints("target");
    const kept = Uint32Array.from([...target.keys()].filter((i) => target[i] >= 0));
    const labels = Uint32Array.from(kept, (i) => target[i]);
    const supervised = gather(c.g, logits, kept);
    const identity = identityMatrix(c, logits.shape[1]);
    const mean = crossEntropy(c.g, supervised, identity, labels);
    await c.value(mean, "mean");
    const each = logProbs(c.g, supervised, identity, labels);
    const none = new Float32Array(target.length);
    (await c.gpu.read(each)).forEach((v, i) => none[kept[i]] = -v);
    await c.value(none, "none");
    const upstream = c.floats("grad_none");
    const d_each = Float32Array.from(kept, (i) => -upstream[i]);
    await c.gradients([[mean, c.floats("grad_mean")], [each, d_each]], { logits });
  },
  smooth_l1: (c) =>
    elementLoss(
      c,
      (g, x, t) => smoothL1(g, x, t, c.op.attributes.beta),
      (g, x, t) => smoothDistance(g, x, t, c.op.attributes.beta),
    ),
  mse: (c) => elementLoss(c, mse, squaredError),
  async normal(c) {
    const column = (name: string) => {
      const data = c.floats(name);
      return c.watched(data, [data.length, 1]);
    };
    const [loc, log_std, value] = [column("loc"), column("log_std"), column("value")];
    const eps = c.scope.upload(c.floats("eps"), loc.shape);
    const sample = sampleGaussian(c.g, loc, log_std, eps);
    const log_prob = gaussianLogProb(c.g, loc, log_std, value, "sum");
    await c.value(sample, "rsample");
    await c.value(log_prob, "log_prob");
    const entropies = Array.from(
      { length: loc.size },
      (_, i) => gaussianEntropy(c.g, gather(c.g, log_std, Uint32Array.of(i))),
    );
    const numbers = await Promise.all(entropies.map((e) => c.gpu.read(e)));
    await c.value(Float32Array.from(numbers, ([e]) => e), "entropy");
    const d_entropy = c.floats("grad_entropy");
    await c.gradients([
      [sample, c.floats("grad_rsample")],
      [log_prob, c.floats("grad_log_prob")],
      ...entropies.map((e, i) => [e, d_entropy.slice(i, i + 1)] as const),
    ], { loc, log_std, value });
  },
  async adamw(c) {
    const { lr, eps, weight_decay: weightDecay } = c.op.attributes;
    const betas = (c.op.attributes as unknown as { betas: [number, number] }).betas;
    const tensor = c.scope.upload(c.floats("param"), c.shape("param"));
    tensor.gradient = c.scope.zeros(tensor.shape);
    using optimizer = new AdamW(c.gpu, [{ name: "p", tensor }], { lr, betas, eps, weightDecay });
    const [steps, size] = c.shape("grads");
    const after = new Float32Array(steps * size);
    for (let i = 0; i < steps; i++) {
      c.gpu.write(tensor.gradient, c.floats("grads").slice(i * size, (i + 1) * size));
      optimizer.step();
      after.set(await c.gpu.read(tensor), i * size);
    }
    await c.value(after, "param_after");
    const { expAvg, expAvgSq } = (await optimizer.readState()).moments.get("p")!;
    await c.value(expAvg, "exp_avg");
    await c.value(expAvgSq, "exp_avg_sq");
  },
  async clip_grad_norm(c) {
    const count = c.golden.names(`${c.name}.grad_in.`).length;
    const parameters = Array.from({ length: count }, (_, i) => {
      const tensor = c.scope.zeros(c.shape(`grad_in.${i}`));
      tensor.gradient = c.scope.upload(c.floats(`grad_in.${i}`), tensor.shape);
      return { name: `${i}`, tensor };
    });
    using optimizer = new AdamW(c.gpu, parameters, { lr: 1 });
    await c.value(optimizer.clipGradNorm(c.op.attributes.max_norm), "total_norm");
    for (const { name, tensor } of parameters) await c.value(tensor.gradient!, `grad_out.${name}`);
  },
};

async function elementwise(c: OpCheck, op: (g: Graph, x: Tensor) => Tensor): Promise<void> {
  const data = c.floats("input");
  const input = c.watched(data, [1, data.length]);
  const y = op(c.g, input);
  await c.value(y, "y");
  await c.gradients([[y, c.floats("grad_y")]], { input });
}

type Loss = (g: Graph, x: Tensor, target: Tensor) => Tensor;

async function elementLoss(c: OpCheck, mean: Loss, perRow: Loss): Promise<void> {
  const data = c.floats("input");
  const shape = [data.length, 1]; // one element a row: the row losses are the element losses
  const input = c.watched(data, shape);
  const target = c.watched(c.floats("target"), shape);
  const average = mean(c.g, input, target);
  const each = perRow(c.g, input, target);
  await c.value(average, "mean");
  await c.value(each, "none");
  const upstream = [[average, c.floats("grad_mean")], [each, c.floats("grad_none")]] as const;
  await c.gradients(upstream, { input, target });
}

function identityMatrix(c: OpCheck, size: number): Tensor {
  const identity = new Float32Array(size * size);
  for (let i = 0; i < size; i++) identity[i * size + i] = 1;
  return c.scope.upload(identity, [size, size]);
}

/** log softmax of every element of x [N, V], by asking for the log-probability of every label of every row. */
function everyLogProb(c: OpCheck): { x: Tensor; out: Tensor } {
  const x = c.matrix("x");
  const [rows, vocab] = x.shape;
  const index = Uint32Array.from({ length: rows * vocab }, (_, i) => Math.floor(i / vocab));
  const labels = index.map((_, i) => i % vocab);
  return { x, out: logProbs(c.g, gather(c.g, x, index), identityMatrix(c, vocab), labels) };
}

async function rotary(c: OpCheck): Promise<void> {
  const { theta, head_dim: headDim, ...rest } = c.op.attributes;
  const scaling = (rest as { rope_type?: string }).rope_type === "llama3"
    ? rest as unknown as Parameters<typeof ropeTables>[0]["scaling"]
    : null;
  const ids = Uint32Array.from(c.ints("position_ids"));
  const maxPositions = Math.max(...ids) + 1;
  const made = ropeTables({ headDim, theta, scaling, maxPositions });
  await c.value(made.inverseFrequencies, "inv_freq");
  const half = headDim / 2;
  const both = (table: Float32Array) =>
    Float32Array.from({ length: ids.length * headDim }, (_, i) => {
      const position = ids[Math.floor(i / headDim)];
      return table[position * half + i % half];
    });
  await c.value(both(made.cos), "cos");
  await c.value(both(made.sin), "sin");
  const shape = [maxPositions, half];
  const tables = { cos: c.scope.upload(made.cos, shape), sin: c.scope.upload(made.sin, shape) };
  const positions = c.scope.upload(ids);
  for (const name of ["q", "k"]) {
    const [batch, heads, length] = c.shape(name);
    const sizes = [batch, heads, length, headDim];
    const x = c.watched(swapHeads(c.floats(name), sizes), [batch * length, heads * headDim]);
    const out = rope(c.g, x, tables, positions, { numHeads: heads, headDim });
    const back = [batch, length, heads, headDim];
    await c.value(swapHeads(await c.gpu.read(out), back), `${name}_rotated`);
    const upstream = swapHeads(c.floats(`grad_${name}_rotated`), sizes);
    c.g.backward([out, c.scope.upload(upstream, out.shape)]);
    await c.value(swapHeads(await c.gpu.read(c.g.grad(x)), back), `grad_${name}`);
  }
}

/** [a, b, c, d] to [a, c, b, d]: between PyTorch's [batch, heads, positions, size] and rows of tokens. */
function swapHeads(data: Float32Array, [a, b, c, d]: readonly number[]): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) {
      for (let k = 0; k < c; k++) {
        const from = ((i * b + j) * c + k) * d;
        out.set(data.subarray(from, from + d), ((i * c + k) * b + j) * d);
      }
    }
  }
  return out;
}

async function checkAttention(c: OpCheck): Promise<void> {
  const [batch, numHeads, queries, headDim] = c.shape("q");
  const [, numKeyValueHeads, keys] = c.shape("k");
  const visible = Uint32Array.from(c.ints("key_mask"));
  const layout = layoutSegment(c.scope, {
    rows: Array.from({ length: batch }, (_, b) => ({
      queryBegin: b * queries,
      queryCount: queries,
      slotBegin: b * keys,
      slotOfFirstQuery: b * keys + keys - queries,
    })),
    numTokens: batch * queries,
    numSlots: batch * keys,
    visible,
  });
  const heads = { numHeads, numKeyValueHeads, headDim };
  const packed = (name: string, numRows: number, count: number) =>
    c.watched(swapHeads(c.floats(name), [batch, count, numRows, headDim]), [
      batch * numRows,
      count * headDim,
    ]);
  const q = packed("q", queries, numHeads);
  const k = packed("k", keys, numKeyValueHeads);
  const v = packed("v", keys, numKeyValueHeads);
  const out = attention(c.g, q, k, v, layout, heads);
  const back = (data: Float32Array, numRows: number, count: number) =>
    swapHeads(data, [batch, numRows, count, headDim]);
  await c.value(back(await c.gpu.read(out), queries, numHeads), "y");
  const upstream = swapHeads(c.floats("grad_y"), [batch, numHeads, queries, headDim]);
  c.g.backward([out, c.scope.upload(upstream, out.shape)]);
  await c.value(back(await c.gpu.read(c.g.grad(q)), queries, numHeads), "grad_q");
  await c.value(back(await c.gpu.read(c.g.grad(k)), keys, numKeyValueHeads), "grad_k");
  await c.value(back(await c.gpu.read(c.g.grad(v)), keys, numKeyValueHeads), "grad_v");

  // With value j the j-th unit vector the output is the row of probabilities.
  assert.ok(keys <= headDim, "the check of the probabilities needs as many dimensions as keys");
  const unit = new Float32Array(batch * keys * numKeyValueHeads * headDim);
  for (let i = 0; i < batch * keys * numKeyValueHeads; i++) {
    unit[i * headDim + Math.floor(i / numKeyValueHeads) % keys] = 1;
  }
  const units = c.scope.upload(unit, v.shape);
  const plain = new Graph(c.gpu, c.scope, { training: false });
  const rows = back(
    await c.gpu.read(attention(plain, q, k, units, layout, heads)),
    queries,
    numHeads,
  );
  const probs = new Float32Array(batch * numHeads * queries * keys);
  for (let i = 0; i < batch * numHeads * queries; i++) {
    probs.set(rows.subarray(i * headDim, i * headDim + keys), i * keys);
  }
  await c.value(probs, "probs");
  const allowed = new Int32Array(batch * queries * keys);
  for (let i = 0; i < allowed.length; i++) {
    const [b, j] = [Math.floor(i / (queries * keys)), i % keys];
    const query = Math.floor(i / keys) % queries;
    allowed[i] = probs[((b * numHeads) * queries + query) * keys + j] > 0 ? 1 : 0;
  }
  c.golden.same(allowed, `${c.name}.allowed`);
}
