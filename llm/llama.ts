/**
 * Llama and Qwen2: x + attention(rms_norm(x)), then x + swiglu(rms_norm(x)), rotary positions, grouped-query heads.
 *
 * Source: transformers 4.45 modeling_llama.py and modeling_qwen2.py (names and formulas), arXiv 2302.13971.
 * Qwen2 differs by its biases on q, k and v only.
 */
import { checkpoint } from "../autograd/checkpoint.ts";
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { add } from "../ops/add.ts";
import { attention } from "../ops/attention.ts";
import { cacheAppend } from "../ops/cache_append.ts";
import { linear } from "../ops/linear.ts";
import { rmsNorm } from "../ops/rms_norm.ts";
import { rope } from "../ops/rope.ts";
import { swiglu } from "../ops/swiglu.ts";
import {
  type Adapter,
  type Backbone,
  type ForwardOptions,
  type ForwardResult,
  type LinearModule,
  type Pass,
  recomputesBlocks,
} from "./backbone.ts";
import type { LlamaConfig } from "./config.ts";
import { checkPositions } from "./positions.ts";
import { RotaryTables } from "./rotary.ts";
import type { Tokens } from "./tokens.ts";
import type { TensorSpec, Weights } from "./weights.ts";

/** Every tensor of a Llama or Qwen2 checkpoint, with its shape. */
export function llamaTensors(config: LlamaConfig): TensorSpec[] {
  const { vocab_size: V, hidden_size: D, intermediate_size: F, head_dim: E } = config;
  const H = config.num_attention_heads;
  const K = config.num_key_value_heads;
  const specs: TensorSpec[] = [{ name: "model.embed_tokens.weight", shape: [V, D] }];
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = `model.layers.${i}`;
    const linear = (name: string, out: number, inputs: number, bias: boolean) => {
      specs.push({ name: `${layer}.${name}.weight`, shape: [out, inputs] });
      if (bias) specs.push({ name: `${layer}.${name}.bias`, shape: [out] });
    };
    linear("self_attn.q_proj", H * E, D, config.qkv_bias);
    linear("self_attn.k_proj", K * E, D, config.qkv_bias);
    linear("self_attn.v_proj", K * E, D, config.qkv_bias);
    linear("self_attn.o_proj", D, H * E, config.output_bias);
    linear("mlp.gate_proj", F, D, config.mlp_bias);
    linear("mlp.up_proj", F, D, config.mlp_bias);
    linear("mlp.down_proj", D, F, config.mlp_bias);
    specs.push({ name: `${layer}.input_layernorm.weight`, shape: [D] });
    specs.push({ name: `${layer}.post_attention_layernorm.weight`, shape: [D] });
  }
  specs.push({ name: "model.norm.weight", shape: [D] });
  if (!config.tie_word_embeddings) specs.push({ name: "lm_head.weight", shape: [V, D] });
  return specs;
}

/** A Llama or Qwen2 model on the device. */
export class Llama implements Backbone {
  adapter: Adapter | undefined;
  checkpointsBlocks = false;
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly kvWidth: number;
  readonly maxPositions: number;
  #rotary: RotaryTables;

  constructor(readonly config: LlamaConfig, readonly weights: Weights) {
    this.hiddenSize = config.hidden_size;
    this.numLayers = config.num_hidden_layers;
    this.kvWidth = config.num_key_value_heads * config.head_dim;
    this.maxPositions = config.max_position_embeddings;
    this.#rotary = new RotaryTables(weights, {
      headDim: config.head_dim,
      theta: config.rope_theta,
      scaling: config.rope_scaling,
    }, config.max_position_embeddings);
  }

  get embeddings(): Tensor {
    return this.weights.get("model.embed_tokens.weight");
  }

  get head(): Tensor {
    return this.weights.find("lm_head.weight") ?? this.embeddings;
  }

  get linearModules(): LinearModule[] {
    return llamaTensors(this.config)
      .filter(({ name }) => /\.layers\..*_proj\.weight$/.test(name))
      .map(({ name, shape: [numOutputs, numInputs] }) => ({
        name: name.replace(/\.weight$/, ""),
        numOutputs,
        numInputs,
      }));
  }

  forward(
    g: Graph,
    inputsEmbeds: Tensor, // [N, D]
    tokens: Tokens,
    options: ForwardOptions = {},
  ): ForwardResult {
    const { cache, hiddenStates = false } = options;
    const pass: Pass = { tokens, cache, updates: this.adapter?.forPass(g) };
    const recompute = recomputesBlocks(this, g, options);
    checkPositions(this, tokens);
    this.#rotary.cover(tokens.positions);
    const states: Tensor[] = [];
    let x = inputsEmbeds;
    for (let i = 0; i < this.numLayers; i++) {
      if (hiddenStates) states.push(x);
      const input = x;
      const block = (inner: Graph) => this.#block(inner, i, input, pass);
      // Without gradients a block's intermediates serve nobody after it: their memory serves the next block.
      x = recompute || !g.training ? checkpoint(g, block, [input]) : block(g);
    }
    if (hiddenStates) states.push(x);
    const norm = this.weights.get("model.norm.weight");
    return { hidden: rmsNorm(g, x, norm, this.config.rms_norm_eps), hiddenStates: states };
  }

  #block(g: Graph, i: number, x: Tensor, pass: Pass): Tensor {
    const eps = this.config.rms_norm_eps;
    const layer = `model.layers.${i}`;
    const norm1 = this.weights.get(`${layer}.input_layernorm.weight`);
    const attended = this.#attention(g, i, rmsNorm(g, x, norm1, eps), pass);
    const y = add(g, x, attended);
    const norm2 = this.weights.get(`${layer}.post_attention_layernorm.weight`);
    return add(g, y, this.#mlp(g, `${layer}.mlp`, rmsNorm(g, y, norm2, eps), pass));
  }

  #attention(g: Graph, i: number, x: Tensor, pass: Pass): Tensor {
    const { tokens, cache } = pass;
    const { num_attention_heads: H, num_key_value_heads: K, head_dim: headDim } = this.config;
    const module = `model.layers.${i}.self_attn`;
    const rotate = (y: Tensor, numHeads: number) =>
      rope(g, y, this.#rotary.tables, tokens.positionIds, { numHeads, headDim });
    const q = rotate(this.#linear(g, `${module}.q_proj`, x, pass), H); // [N, H E]
    let keys = rotate(this.#linear(g, `${module}.k_proj`, x, pass), K); // [N, K E]
    let values = this.#linear(g, `${module}.v_proj`, x, pass); // [N, K E]
    if (cache) {
      keys = cache.keys[i] = cacheAppend(g, keys, cache.keys[i], tokens.layout); // [S, K E]
      values = cache.values[i] = cacheAppend(g, values, cache.values[i], tokens.layout);
    }
    const shape = { numHeads: H, numKeyValueHeads: K, headDim };
    const out = attention(g, q, keys, values, tokens.layout, shape); // [N, H E]
    return this.#linear(g, `${module}.o_proj`, out, pass);
  }

  #mlp(g: Graph, module: string, x: Tensor, pass: Pass): Tensor {
    const gate = this.#linear(g, `${module}.gate_proj`, x, pass); // [N, F]
    const up = this.#linear(g, `${module}.up_proj`, x, pass); // [N, F]
    return this.#linear(g, `${module}.down_proj`, swiglu(g, gate, up), pass);
  }

  #linear(g: Graph, module: string, x: Tensor, { updates }: Pass): Tensor {
    return linear(g, x, this.weights.get(`${module}.weight`), {
      bias: this.weights.find(`${module}.bias`),
      lora: updates?.(module),
    });
  }
}
