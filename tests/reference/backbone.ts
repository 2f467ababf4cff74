/**
 * Llama and GPT-2 on one row, in float64 and without a cache: every token sees itself and those before it.
 */
import type { ModelConfig } from "../../llm/config.ts";
import { attention } from "./attention.ts";
import { geluErf, geluTanh } from "./gelu.ts";
import { layerNorm } from "./layer_norm.ts";
import { linear } from "./linear.ts";
import { rmsNorm } from "./rms_norm.ts";
import { rope } from "./rope.ts";
import { swiglu } from "./swiglu.ts";

/** A model with an adapter: numbers by name, matrices [out, in]. */
export interface ReferenceModel {
  readonly config: ModelConfig;
  /** Under the checkpoint's names. */
  readonly weights: ReadonlyMap<string, Float64Array>;
  /** Under PEFT's names, `base_model.model.<module>.lora_A.weight`. */
  readonly adapter: ReadonlyMap<string, Float64Array>;
  /** lora_alpha / r. */
  readonly scale: number;
}

/**
 * Runs a row at positions 0, 1, ...
 * @param x [N, D] embeddings
 * @returns what enters each block, [N, D] each, and last the hidden states after the final norm
 */
export function referenceStates(model: ReferenceModel, x: Float64Array): Float64Array[] {
  return model.config.model_type === "gpt2" ? gpt2(model, x) : llama(model, x);
}

/** A module's x W^T with bias and adapter where it has them. */
function apply(
  { weights, adapter, scale }: ReferenceModel,
  weightName: string,
  module: string,
  x: Float64Array,
  k: number,
): Float64Array {
  const weight = weights.get(`${weightName}.weight`)!;
  const [a, b] = ["A", "B"].map((ab) =>
    adapter.get(`base_model.model.${module}.lora_${ab}.weight`)
  );
  const n = weight.length / k;
  const rank = a ? a.length / k : 0;
  const bias = weights.get(`${weightName}.bias`);
  return linear({ x, weight, bias, a, b, scale, m: x.length / k, n, k, rank });
}

function wholeRow(N: number) {
  const row = { queryBegin: 0, queryCount: N, slotBegin: 0, slotOfFirstQuery: 0 };
  return { rows: [row], numTokens: N, numSlots: N, visible: null };
}

const plus = (a: Float64Array, b: Float64Array) => a.map((v, i) => v + b[i]);

function llama(model: ReferenceModel, inputs: Float64Array): Float64Array[] {
  const { config, weights } = model;
  if (config.model_type === "gpt2") throw new TypeError("a Llama is needed");
  const { hidden_size: D, head_dim: E, rms_norm_eps: eps } = config;
  const [H, K] = [config.num_attention_heads, config.num_key_value_heads];
  const N = inputs.length / D;
  const positions = Array.from({ length: N }, (_, i) => i);
  const frequencies = Array.from({ length: E / 2 }, (_, i) => config.rope_theta ** (-2 * i / E));
  const states: Float64Array[] = [];
  let x = inputs;
  for (let i = 0; i < config.num_hidden_layers; i++) {
    states.push(x);
    const layer = `model.layers.${i}`;
    const module = (name: string, input: Float64Array, k = D) =>
      apply(model, `${layer}.${name}`, `${layer}.${name}`, input, k);
    const h = rmsNorm(x, weights.get(`${layer}.input_layernorm.weight`)!, eps);
    const q = rope(module("self_attn.q_proj", h), positions, frequencies, H);
    const k = rope(module("self_attn.k_proj", h), positions, frequencies, K);
    const v = module("self_attn.v_proj", h);
    const heads = { numHeads: H, numKeyValueHeads: K, headDim: E };
    const seen = attention(q, k, v, wholeRow(N), heads);
    const y = plus(x, module("self_attn.o_proj", seen, H * E));
    const m = rmsNorm(y, weights.get(`${layer}.post_attention_layernorm.weight`)!, eps);
    const gated = swiglu(module("mlp.gate_proj", m), module("mlp.up_proj", m));
    x = plus(y, module("mlp.down_proj", gated, config.intermediate_size));
  }
  return [...states, rmsNorm(x, weights.get("model.norm.weight")!, eps)];
}

function gpt2(model: ReferenceModel, inputs: Float64Array): Float64Array[] {
  const { config, weights } = model;
  if (config.model_type !== "gpt2") throw new TypeError("a GPT-2 is needed");
  const { n_embd: D, n_head: H, n_inner: F, layer_norm_epsilon: eps } = config;
  const N = inputs.length / D;
  const norm = (name: string, x: Float64Array) =>
    layerNorm(x, weights.get(`${name}.weight`)!, weights.get(`${name}.bias`)!, eps);
  const activation = config.activation_function === "gelu" ? geluErf : geluTanh;
  const states: Float64Array[] = [];
  let x = plus(inputs, weights.get("wpe.weight")!.subarray(0, N * D));
  for (let i = 0; i < config.n_layer; i++) {
    states.push(x);
    const module = (name: string, input: Float64Array, k = D) =>
      apply(model, `h.${i}.${name}`, `transformer.h.${i}.${name}`, input, k);
    const qkv = module("attn.c_attn", norm(`h.${i}.ln_1`, x));
    const part = (begin: number) =>
      Float64Array.from(
        { length: N * D },
        (_, j) => qkv[Math.floor(j / D) * 3 * D + begin + j % D],
      );
    const heads = { numHeads: H, numKeyValueHeads: H, headDim: D / H };
    const seen = attention(part(0), part(D), part(2 * D), wholeRow(N), heads);
    const y = plus(x, module("attn.c_proj", seen));
    const inner = activation(module("mlp.c_fc", norm(`h.${i}.ln_2`, y)));
    x = plus(y, module("mlp.c_proj", inner, F));
  }
  return [...states, norm("ln_f", x)];
}
