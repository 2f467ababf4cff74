/** Golden case of a whole backbone: forward, gradients, LoRA, AdamW, cached decoding, greedy continuation. */
import assert from "node:assert/strict";
import { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { loadModel } from "../io/load_model.ts";
import { loadSafetensors } from "../io/safetensors.ts";
import type { Backbone } from "../llm/backbone.ts";
import type { LlamaConfig } from "../llm/config.ts";
import { generate } from "../llm/generate.ts";
import { KvCache } from "../llm/kv_cache.ts";
import { Llama } from "../llm/llama.ts";
import { LoraAdapter, mergedWeight } from "../llm/lora.ts";
import { packRows, type RowTokens } from "../llm/tokens.ts";
import { crossEntropy, logits as paddedLogits } from "../ops/cross_entropy.ts";
import { embedding } from "../ops/embedding.ts";
import { gather } from "../ops/gather.ts";
import { ropeTables } from "../ops/rope.ts";
import { AdamW } from "../training/adamw.ts";
import type { GoldenCase, Tolerance } from "./golden_case.ts";

/** Compares everything in a backbone case. */
export async function checkBackbone(gpu: Gpu, golden: GoldenCase): Promise<void> {
  const { folder } = golden;
  const check = new BackboneCheck(gpu, golden, await loadModel(gpu, folder, "f32"));
  await check.forward(await loadModel(gpu, folder, "stored"));
  await check.gradients();
  await check.hiddenDot();
  await check.rotary();
  await check.lora();
  for (
    const [name, maxNorm] of [["", 0], [".clip1", 1], [
      ".clip_small",
      golden.json.adamw.max_norm_small,
    ]]
  ) {
    await check.adamw(`adamw${name}`, maxNorm);
  }
  await check.decode();
  await check.decodeEmbeds();
  await check.greedy();
}

class BackboneCheck {
  readonly batch: number;
  readonly length: number;
  readonly where: Int32Array;
  readonly tolerance: Record<string, Tolerance>;

  constructor(
    readonly gpu: Gpu,
    readonly golden: GoldenCase,
    readonly model: Backbone,
  ) {
    [this.batch, this.length] = golden.shape("input_ids");
    const valid = golden.ints("valid_positions");
    const defined = golden.ints("defined_positions");
    this.where = valid.map((v, i) => v & defined[i]);
    this.tolerance = golden.json.tolerances;
    const model_ = model.weights;
    model_.train();
  }

  /** One forward pass over the recorded batch; pads are tokens with invisible keys. */
  pass(g: Graph, model: Backbone, ids?: Tensor) {
    const { golden } = this;
    const embeds = ids ?? embedding(g, model.embeddings, unsigned(golden.ints("input_ids")));
    const rows = this.rows("attention_mask", "position_ids", this.length);
    return { embeds, ...model.forward(g, embeds, packRows(g.scope, rows), { hiddenStates: true }) };
  }

  rows(mask: string, positions: string, length: number): RowTokens[] {
    const [m, p] = [this.golden.ints(mask), this.golden.ints(positions)];
    const stride = this.golden.shape(positions)[1];
    return Array.from({ length: this.batch }, (_, b) => ({
      length,
      visible: m.subarray(b * length, (b + 1) * length),
      positions: p.subarray(b * stride, b * stride + length),
    }));
  }

  loss(g: Graph, model: Backbone, hidden: Tensor, labels = "labels"): Tensor {
    const ids = this.golden.ints(labels);
    const index: number[] = [];
    for (let i = 0; i < ids.length; i++) {
      if (ids[i] >= 0) {
        assert.ok(i % this.length > 0);
        index.push(i - 1);
      }
    }
    const supervised = gather(g, hidden, Uint32Array.from(index));
    return crossEntropy(g, supervised, model.head, Uint32Array.from(index, (i) => ids[i + 1]));
  }

  async forward(stored: Backbone): Promise<void> {
    for (const model of new Set([this.model, stored])) {
      using scope = this.gpu.scope();
      const g = new Graph(this.gpu, scope, { training: false });
      const { hidden, hiddenStates, embeds } = this.pass(g, model);
      const { golden, where, tolerance: t } = this;
      golden.close(await this.gpu.read(embeds), "inputs_embeds", t.hidden, where);
      const L = model.numLayers;
      for (let i = 0; i < L; i++) {
        golden.close(await this.gpu.read(hiddenStates[i]), `hidden_states.${i}`, t.hidden, where);
      }
      golden.close(await this.gpu.read(hidden), `hidden_states.${L}`, t.hidden, where);
      golden.close(await this.gpu.read(hiddenStates[L]), "last_layer_output", t.hidden, where);
      golden.close(await readLogits(g, model, hidden), "logits", t.logits, where);
    }
  }

  async gradients(): Promise<void> {
    const { gpu, golden, model, tolerance: t } = this;
    for (const suffix of ["", ".labels_after_pad"]) {
      if (suffix && !golden.has(`loss${suffix}`)) continue;
      using scope = gpu.scope();
      const g = new Graph(gpu, scope);
      for (const tensor of model.weights.entries.values()) gpu.clear(tensor.gradient!);
      const ids = unsigned(golden.ints("input_ids"));
      const { hidden, embeds } = this.pass(g, model, embedding(g, model.embeddings, ids));
      const loss = this.loss(g, model, hidden, `labels${suffix && "_after_pad"}`);
      golden.close(await gpu.read(loss), `loss${suffix}`, t.loss);
      const leaf = scope.upload(await gpu.read(embeds), embeds.shape);
      g.backward([loss]);
      if (!suffix) {
        for (const name of golden.names("grad.")) {
          const gradient = await model.weights.read(name.slice(5), "gradient");
          golden.close(gradient, name, t.grad);
        }
      }
      const g2 = new Graph(gpu, scope);
      const pass = this.pass(g2, model, g2.watch(leaf));
      g2.backward([this.loss(g2, model, pass.hidden, `labels${suffix && "_after_pad"}`)]);
      golden.close(await gpu.read(g2.grad(leaf)), `grad_inputs_embeds${suffix}`, t.grad);
    }
  }

  async hiddenDot(): Promise<void> {
    const { gpu, golden, model, tolerance: t } = this;
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const leaf = scope.upload(golden.floats("inputs_embeds"), [
      this.batch * this.length,
      model.hiddenSize,
    ]);
    const { hidden } = this.pass(g, model, g.watch(leaf));
    const upstream = golden.floats("hidden_upstream");
    const values = await gpu.read(hidden);
    const dot = values.reduce((sum, x, i) => upstream[i] === 0 ? sum : sum + x * upstream[i], 0);
    golden.close([dot], "hidden_dot", t.hidden_dot);
    g.backward([hidden, scope.upload(upstream, hidden.shape)]);
    golden.close(await gpu.read(g.grad(leaf)), "grad_inputs_embeds.hidden_dot", t.grad);
  }

  async rotary(): Promise<void> {
    const { gpu, golden, model, tolerance: t } = this;
    if (!golden.has("rotary.inv_freq")) return;
    const config = model.config as LlamaConfig;
    const tables = (c: LlamaConfig) =>
      ropeTables({
        headDim: c.head_dim,
        theta: c.rope_theta,
        scaling: c.rope_scaling,
        maxPositions: 1,
      });
    golden.close(tables(config).inverseFrequencies, "rotary.inv_freq", t.inv_freq);
    if (!golden.has("rope_variant.logits")) return;
    const { original_max_position_embeddings } = golden.json.rope_variant;
    const rope_scaling = { ...config.rope_scaling!, original_max_position_embeddings };
    const variant = new Llama({ ...config, rope_scaling }, model.weights);
    golden.close(tables(variant.config).inverseFrequencies, "rope_variant.inv_freq", t.inv_freq);
    using scope = gpu.scope();
    const g = new Graph(gpu, scope, { training: false });
    const out = await readLogits(g, variant, this.pass(g, variant).hidden);
    golden.close(out, "rope_variant.logits", t.logits, this.where);
  }

  async adapter(model: Backbone): Promise<LoraAdapter> {
    const folder = `${this.golden.folder}/adapter`;
    const config = JSON.parse(await Deno.readTextFile(`${folder}/adapter_config.json`));
    const adapter = new LoraAdapter(this.gpu, model, config);
    const saved = await loadSafetensors(`${folder}/adapter_model.safetensors`);
    assert.deepEqual([...saved.keys()].sort(), [...adapter.parameters.keys()].sort());
    for (const [name, { data }] of saved) adapter.write(name, data as Float32Array);
    return adapter;
  }

  async lora(): Promise<void> {
    const { gpu, golden, tolerance: t, where } = this;
    const model = await loadModel(gpu, golden.folder);
    const adapter = model.adapter = await this.adapter(model);
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const leaf = scope.upload(golden.floats("inputs_embeds"), [
      this.batch * this.length,
      model.hiddenSize,
    ]);
    const { hidden } = this.pass(g, model, g.watch(leaf));
    golden.close(await gpu.read(hidden), "lora.hidden_states.last", t.hidden, where);
    golden.close(await readLogits(g, model, hidden), "lora.logits", t.logits, where);
    const loss = this.loss(g, model, hidden);
    golden.close(await gpu.read(loss), "lora.loss", t.loss);
    g.backward([loss]);
    golden.close(await gpu.read(g.grad(leaf)), "lora.grad_inputs_embeds", t.grad);
    for (const [name, tensor] of adapter.parameters) {
      golden.close(await gpu.read(tensor.gradient!), `lora.grad.${name}`, t.grad);
    }
    const plain = new Graph(gpu, scope, { training: false });
    const merged = await loadModel(gpu, golden.folder, "f32");
    for (const module of adapter.modules) {
      const name = `${module.replace(/^transformer\./, "")}.weight`;
      const weight = mergedWeight(plain, model.weights.get(name), adapter.get(module)!);
      gpu.copy(weight, merged.weights.get(name));
      const key = `lora.merged.${name}`;
      if (golden.has(key)) golden.close(await merged.weights.read(name), key, t.merged);
    }
    if (golden.has("lora.merged_logits")) {
      const out = await readLogits(plain, merged, this.pass(plain, merged).hidden);
      golden.close(out, "lora.merged_logits", t.logits, where);
    }
  }

  async adamw(prefix: string, maxNorm: number): Promise<void> {
    const { gpu, golden, tolerance: t } = this;
    if (!golden.has(`${prefix}.losses`)) return;
    const { lr, betas, eps, weight_decay: weightDecay, steps } = golden.json.adamw;
    const model = await loadModel(gpu, golden.folder);
    const adapter = model.adapter = await this.adapter(model);
    const parameters = [...adapter.parameters].map(([name, tensor]) => ({ name, tensor }));
    using optimizer = new AdamW(gpu, parameters, { lr, betas, eps, weightDecay });
    const losses: number[] = [];
    const norms: number[] = [];
    for (let step = 0; step <= steps; step++) {
      using scope = gpu.scope();
      const g = new Graph(gpu, scope);
      const loss = this.loss(g, model, this.pass(g, model).hidden);
      losses.push((await gpu.read(loss))[0]);
      if (step === steps) break;
      optimizer.zeroGrad();
      g.backward([loss]);
      norms.push((await gpu.read(optimizer.clipGradNorm(maxNorm || Infinity)))[0]);
      optimizer.step();
    }
    golden.close(losses, `${prefix}.losses`, t.loss);
    if (golden.has(`${prefix}.total_norms`)) {
      golden.close(norms, `${prefix}.total_norms`, t.total_norm);
    }
    const state = await optimizer.readState();
    for (const { name, tensor } of parameters) {
      const moments = state.moments.get(name)!;
      for (
        const [kind, numbers, tolerance] of [
          ["param", await gpu.read(tensor), t.adamw],
          ["exp_avg", moments.expAvg, t.moments],
          ["exp_avg_sq", moments.expAvgSq, t.moments],
        ] as const
      ) {
        const key = `${prefix}.${kind}.${name}`;
        if (golden.has(key)) golden.close(numbers, key, tolerance);
      }
    }
  }

  async decode(): Promise<void> {
    const { gpu, golden, model, batch, tolerance: t } = this;
    const P = golden.shape("decode.prompt_ids")[1];
    const steps = golden.shape("decode.next_ids")[1];
    const next = golden.ints("decode.next_ids");
    const defined = golden.ints("decode.prompt_defined");
    const where = golden.ints("decode.prompt_mask").map((m, i) => m & defined[i]);
    using scope = gpu.scope();
    const g = new Graph(gpu, scope, { training: false });
    const cache = new KvCache(scope, model, Array(batch).fill(P + steps));
    const rows = this.rows("decode.prompt_mask", "decode.position_ids", P);
    const ids = unsigned(golden.ints("decode.prompt_ids"));
    const tokens = cache.extend(scope, rows.map((r, row) => ({ ...r, row })));
    const { hidden } = model.forward(g, embedding(g, model.embeddings, ids), tokens, { cache });
    const out = await readLogits(g, model, hidden);
    golden.close(out, "decode.prompt_logits", t.logits, where);
    for (let i = 0; i < model.numLayers; i++) {
      for (const [name, tensor] of [["key", cache.keys[i]], ["value", cache.values[i]]] as const) {
        const key = `decode.prompt_${name}.${i}`;
        const [, K, , E] = golden.shape(key);
        const heads = await gpu.read(tensor);
        const at = (b: number, k: number, p: number, e: number) =>
          heads[((b * (P + steps) + p) * K + k) * E + e];
        const mask = Array.from(
          { length: batch * K * P },
          (_, j) => where[Math.floor(j / (K * P)) * P + j % P],
        );
        golden.close(ordered([batch, K, P, E], at), key, t.hidden, mask);
      }
    }
    const V = golden.shape("decode.step_logits")[2];
    const all = new Float32Array(batch * steps * V);
    for (let s = 0; s < steps; s++) {
      const step = cache.extend(scope, rows.map((_, row) => ({ row, length: 1 })));
      const positions = golden.ints("decode.position_ids");
      const stride = P + steps;
      assert.deepEqual([...step.positions], rows.map((_, b) => positions[b * stride + P + s]));
      const x = embedding(
        g,
        model.embeddings,
        Uint32Array.from(rows, (_, b) => next[b * steps + s]),
      );
      const state = model.forward(g, x, step, { cache }).hidden;
      scatter(all, await readLogits(g, model, state), batch, steps, s, V);
    }
    golden.close(all, "decode.step_logits", t.logits);
  }

  async decodeEmbeds(): Promise<void> {
    const { gpu, golden, model, batch, tolerance: t } = this;
    const P = golden.shape("decode.prompt_ids")[1];
    const [, steps, D] = golden.shape("decode_embeds.latents");
    const mask = golden.ints("decode_embeds.step_mask");
    const positions = golden.ints("decode_embeds.position_ids");
    using scope = gpu.scope();
    const g = new Graph(gpu, scope, { training: false });
    const { cache } = this.prefill(g, P + steps);
    const V = golden.shape("decode_embeds.step_logits")[2];
    const all = new Float32Array(batch * steps * V);
    for (let s = 0; s < steps; s++) {
      const step = cache.extend(
        scope,
        Array.from(
          { length: batch },
          (_, row) => ({ row, length: 1, visible: [mask[row * steps + s]] }),
        ),
      );
      const stride = P + steps;
      const wanted = Array.from({ length: batch }, (_, b) => positions[b * stride + P + s]);
      assert.deepEqual([...step.positions], wanted);
      const state = model.forward(g, this.latents(g, s, D, steps), step, { cache }).hidden;
      scatter(all, await readLogits(g, model, state), batch, steps, s, V);
    }
    golden.close(all, "decode_embeds.step_logits", t.logits);
  }

  latents(g: Graph, s: number, D: number, steps: number): Tensor {
    const numbers = this.golden.floats("decode_embeds.latents");
    const x = new Float32Array(this.batch * D);
    for (let b = 0; b < this.batch; b++) {
      x.set(numbers.subarray((b * steps + s) * D, (b * steps + s + 1) * D), b * D);
    }
    return g.scope.upload(x, [this.batch, D]);
  }

  /** The recorded prompt through a fresh cache with `slots` slots a row; hidden state of each row's last token. */
  prefill(g: Graph, slots: number): { cache: KvCache; last: Tensor } {
    const { golden, model, batch } = this;
    const P = golden.shape("decode.prompt_ids")[1];
    const cache = new KvCache(g.scope, model, Array(batch).fill(slots));
    const rows = this.rows("decode.prompt_mask", "decode.position_ids", P);
    const tokens = cache.extend(g.scope, rows.map((r, row) => ({ ...r, row })));
    const ids = unsigned(golden.ints("decode.prompt_ids"));
    const { hidden } = model.forward(g, embedding(g, model.embeddings, ids), tokens, { cache });
    const last = gather(g, hidden, Uint32Array.from(rows, (_, b) => b * P + P - 1));
    return { cache, last };
  }

  async greedy(): Promise<void> {
    const { gpu, golden, model, batch, tolerance: t } = this;
    const P = golden.shape("decode.prompt_ids")[1];
    const maxNewTokens = golden.json.generate.max_new_tokens;
    const padId = golden.json.generate.pad_token_id;
    const [, steps, D] = golden.shape("decode_embeds.latents");
    const run = async (name: string, eosIds: number[], latents: boolean, logitsName?: string) => {
      using scope = gpu.scope();
      const g = new Graph(gpu, scope, { training: false });
      const filled = this.prefill(g, P + steps + 1 + maxNewTokens);
      const { cache } = filled;
      let { last } = filled;
      const each = Array.from({ length: batch }, (_, row) => row);
      if (latents) {
        const mask = golden.ints("decode_embeds.step_mask");
        for (let s = 0; s < steps; s++) {
          const step = cache.extend(
            scope,
            each.map((row) => ({ row, length: 1, visible: [mask[row * steps + s]] })),
          );
          model.forward(g, this.latents(g, s, D, steps), step, { cache });
        }
        const end = cache.extend(scope, each.map((row) => ({ row, length: 1 })));
        const ids = unsigned(golden.ints("greedy.end_ids"));
        last = model.forward(g, embedding(g, model.embeddings, ids), end, { cache }).hidden;
      }
      const options = {
        maxNewTokens,
        eosIds,
        doSample: false,
        keepLogits: logitsName !== undefined,
      };
      const out = await generate(model, cache, each, last, options);
      const padded = out.flatMap(({ ids }) =>
        Array.from({ length: maxNewTokens }, (_, i) => ids[i] ?? padId)
      );
      golden.same(padded, name);
      if (logitsName) {
        golden.close(
          Float32Array.from(out.flatMap(({ logits }) => logits!.map((l) => [...l])).flat()),
          logitsName,
          t.logits,
        );
      }
    };
    await run("greedy.tokens", [], false, "greedy.logits");
    await run("greedy.tokens_from_embeds", [], false);
    await run("greedy.tokens_eos", Array.from(golden.ints("greedy.eos_ids")), false);
    await run("greedy.tokens_from_latents", [], true, "greedy.logits_from_latents");
  }
}

/** Logits without the padding of their rows, [N, V]. */
async function readLogits(g: Graph, model: Backbone, hidden: Tensor): Promise<Float32Array> {
  const padded = paddedLogits(g, g.stopGradient(hidden), model.head);
  const [rows, stride] = padded.shape;
  const [vocab] = model.head.shape;
  const data = await g.gpu.read(padded);
  const out = new Float32Array(rows * vocab);
  for (let r = 0; r < rows; r++) {
    out.set(data.subarray(r * stride, r * stride + vocab), r * vocab);
  }
  return out;
}

/** Token ids as the operations take them. */
function unsigned(ids: Int32Array): Uint32Array {
  return Uint32Array.from(ids);
}

function ordered(
  [a, b, c, d]: [number, number, number, number],
  at: (i: number, j: number, k: number, l: number) => number,
): Float32Array {
  const out = new Float32Array(a * b * c * d);
  let n = 0;
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) {
      for (let k = 0; k < c; k++) for (let l = 0; l < d; l++) out[n++] = at(i, j, k, l);
    }
  }
  return out;
}

/** Puts the logits [B, V] of step s into [B, steps, V]. */
function scatter(
  all: Float32Array,
  step: Float32Array,
  batch: number,
  steps: number,
  s: number,
  V: number,
): void {
  for (let b = 0; b < batch; b++) {
    all.set(step.subarray(b * V, (b + 1) * V), (b * steps + s) * V);
  }
}
