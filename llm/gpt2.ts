/**
 * GPT-2: learned positions, LayerNorm, one fused qkv projection, GELU; weights of layout [in, out] (Conv1D), which
 * are kept transposed on the device, in 16 bits where the file has so, so that they are linear maps like all others.
 *
 * Source: transformers 4.45 modeling_gpt2.py; Radford et al., Language Models are Unsupervised Multitask Learners.
 */
import { checkpoint } from "../autograd/checkpoint.ts";
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { add } from "../ops/add.ts";
import { attention } from "../ops/attention.ts";
import { cacheAppend } from "../ops/cache_append.ts";
import { embedding } from "../ops/embedding.ts";
import { gelu } from "../ops/gelu.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import { linear } from "../ops/linear.ts";
import { splitColumns } from "../ops/split_columns.ts";
import {
  type Adapter,
  type Backbone,
  type ForwardOptions,
  type ForwardResult,
  type LinearModule,
  type Pass,
  recomputesBlocks,
} from "./backbone.ts";
import type { Gpt2Config } from "./config.ts";
import { checkPositions } from "./positions.ts";
import type { Tokens } from "./tokens.ts";
import type { TensorSpec, Weights } from "./weights.ts";

/** Every tensor of a GPT-2 checkpoint, with its shape in the file. */
export function gpt2Tensors(config: Gpt2Config): TensorSpec[] {
  const { vocab_size: V, n_embd: D, n_inner: F, n_positions: P } = config;
  const specs: TensorSpec[] = [
    { name: "wte.weight", shape: [V, D] },
    { name: "wpe.weight", shape: [P, D] },
  ];
  const norm = (name: string) => {
    specs.push({ name: `${name}.weight`, shape: [D] }, { name: `${name}.bias`, shape: [D] });
  };
  const conv1d = (name: string, inputs: number, out: number) => {
    specs.push({ name: `${name}.weight`, shape: [inputs, out], conv1d: true });
    specs.push({ name: `${name}.bias`, shape: [out] });
  };
  for (let i = 0; i < config.n_layer; i++) {
    norm(`h.${i}.ln_1`);
    conv1d(`h.${i}.attn.c_attn`, D, 3 * D);
    conv1d(`h.${i}.attn.c_proj`, D, D);
    norm(`h.${i}.ln_2`);
    conv1d(`h.${i}.mlp.c_fc`, D, F);
    conv1d(`h.${i}.mlp.c_proj`, F, D);
  }
  norm("ln_f");
  if (!config.tie_word_embeddings) specs.push({ name: "lm_head.weight", shape: [V, D] });
  return specs;
}

/** A GPT-2 model on the device. */
export class Gpt2 implements Backbone {
  adapter: Adapter | undefined;
  checkpointsBlocks = false;
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly kvWidth: number;
  readonly maxPositions: number;

  constructor(readonly config: Gpt2Config, readonly weights: Weights) {
    this.hiddenSize = config.n_embd;
    this.numLayers = config.n_layer;
    this.kvWidth = config.n_embd;
    this.maxPositions = config.n_positions;
  }

  get embeddings(): Tensor {
    return this.weights.get("wte.weight");
  }

  get head(): Tensor {
    return this.weights.find("lm_head.weight") ?? this.embeddings;
  }

  get linearModules(): LinearModule[] {
    return gpt2Tensors(this.config).filter(({ conv1d }) => conv1d)
      .map(({ name, shape: [numInputs, numOutputs] }) => ({
        name: `transformer.${name.replace(/\.weight$/, "")}`,
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
    const states: Tensor[] = [];
    const positions = embedding(g, this.weights.get("wpe.weight"), tokens.positions); // [N, D]
    let x = add(g, inputsEmbeds, positions);
    for (let i = 0; i < this.numLayers; i++) {
      if (hiddenStates) states.push(x);
      const input = x;
      const block = (inner: Graph) => this.#block(inner, i, input, pass);
      // Without gradients a block's intermediates serve nobody after it: their memory serves the next block.
      x = recompute || !g.training ? checkpoint(g, block, [input]) : block(g);
    }
    if (hiddenStates) states.push(x);
    return { hidden: this.#norm(g, "ln_f", x), hiddenStates: states };
  }

  #block(g: Graph, i: number, x: Tensor, pass: Pass): Tensor {
    const attended = this.#attention(g, i, this.#norm(g, `h.${i}.ln_1`, x), pass);
    const y = add(g, x, attended);
    const inner = this.#linear(g, `h.${i}.mlp.c_fc`, this.#norm(g, `h.${i}.ln_2`, y), pass); // [N, F]
    const kind = this.config.activation_function === "gelu" ? "erf" : "tanh";
    return add(g, y, this.#linear(g, `h.${i}.mlp.c_proj`, gelu(g, inner, kind), pass));
  }

  #attention(g: Graph, i: number, x: Tensor, pass: Pass): Tensor {
    const { tokens, cache } = pass;
    const D = this.hiddenSize;
    const qkv = this.#linear(g, `h.${i}.attn.c_attn`, x, pass); // [N, 3 D]
    const [q, k, v] = splitColumns(g, qkv, [D, D, D]);
    let [keys, values] = [k, v];
    if (cache) {
      keys = cache.keys[i] = cacheAppend(g, k, cache.keys[i], tokens.layout); // [S, D]
      values = cache.values[i] = cacheAppend(g, v, cache.values[i], tokens.layout);
    }
    const numHeads = this.config.n_head;
    const shape = { numHeads, numKeyValueHeads: numHeads, headDim: D / numHeads };
    const out = attention(g, q, keys, values, tokens.layout, shape); // [N, D]
    return this.#linear(g, `h.${i}.attn.c_proj`, out, pass);
  }

  #norm(g: Graph, name: string, x: Tensor): Tensor {
    const { weights } = this;
    const eps = this.config.layer_norm_epsilon;
    return layerNorm(g, x, weights.get(`${name}.weight`), weights.get(`${name}.bias`), eps);
  }

  #linear(g: Graph, name: string, x: Tensor, { updates }: Pass): Tensor {
    return linear(g, x, this.weights.get(`${name}.weight`), {
      bias: this.weights.get(`${name}.bias`),
      lora: updates?.(`transformer.${name}`),
    });
  }
}
