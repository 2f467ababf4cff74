import assert from "node:assert/strict";
import { parseModelConfig } from "../../llm/config.ts";

const LLAMA = {
  model_type: "llama",
  vocab_size: 97,
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
};

Deno.test("parseModelConfig() reads Llama with the Hub's defaults", () => {
  const config = parseModelConfig(LLAMA, "config.json");
  assert.ok(config.model_type === "llama");
  assert.equal(config.head_dim, 8);
  assert.equal(config.rms_norm_eps, 1e-6);
  assert.equal(config.rope_scaling, null);
  assert.equal(config.tie_word_embeddings, false);
  assert.equal(config.qkv_bias, false);
});

Deno.test("parseModelConfig() gives Qwen2 its q, k and v biases and GPT-2 its inner size", () => {
  const qwen = parseModelConfig({ ...LLAMA, model_type: "qwen2" }, "config.json");
  assert.ok(qwen.model_type === "qwen2" && qwen.qkv_bias && !qwen.output_bias);
  const gpt2 = parseModelConfig({ model_type: "gpt2", n_embd: 48, n_inner: null, n_head: 4 }, "c");
  assert.ok(gpt2.model_type === "gpt2" && gpt2.n_inner === 192 && gpt2.tie_word_embeddings);
});

const LLAMA3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 32,
};

Deno.test("parseModelConfig() reads the rotary positions of transformers 4 and 5 alike", () => {
  const parse = (json: unknown) => parseModelConfig(json, "config.json");
  const older = parse({ ...LLAMA, rope_theta: 5e5, rope_scaling: LLAMA3 });
  assert.ok(older.model_type === "llama");
  assert.deepEqual([older.rope_theta, older.rope_scaling], [5e5, LLAMA3]);
  const rope_parameters = { ...LLAMA3, rope_theta: 5e5 }; // as transformers 5.24 saves it
  assert.deepEqual(parse({ ...LLAMA, rope_parameters }), older);
  assert.deepEqual(parse({ ...LLAMA, rope_parameters, rope_theta: 5e5 }), older);
  assert.deepEqual(parse({ ...LLAMA, rope_parameters, rope_scaling: LLAMA3 }), older);
  assert.deepEqual(
    parse({ ...LLAMA, rope_parameters: { rope_type: "default", rope_theta: 1e6 } }),
    parse({ ...LLAMA, rope_theta: 1e6, rope_scaling: null }),
  );
});

const REFUSED: [string, unknown, RegExp][] = [
  ["no object", [], /^TypeError: c\.json: expected a JSON object with 'model_type'$/],
  ["an unknown architecture", { model_type: "mamba" }, /"mamba" is not supported; supported are/],
  [
    "no architecture",
    {},
    /model_type undefined is not supported; supported are gpt2, llama, qwen2/,
  ],
  ["a missing size", { ...LLAMA, vocab_size: undefined }, /vocab_size must be an integer > 0/],
  ["a wrong type", { ...LLAMA, hidden_size: "48" }, /hidden_size must be an integer > 0, got "48"/],
  ["heads that do not divide", { ...LLAMA, num_key_value_heads: 4 }, /a multiple of num_key_value/],
  ["an odd head size", { ...LLAMA, head_dim: 7 }, /head_dim must be even, got 7/],
  ["another activation", { ...LLAMA, hidden_act: "gelu" }, /hidden_act must be silu, got "gelu"/],
  [
    "an unknown scaling",
    { ...LLAMA, rope_scaling: { rope_type: "yarn" } },
    /rope_type must be def/,
  ],
  [
    "a scaling without factor",
    { ...LLAMA, rope_scaling: { type: "llama3" } },
    /factor must be a nu/,
  ],
  [
    "an unknown form of rope_parameters",
    { ...LLAMA, rope_parameters: { rope_type: "yarn", factor: 2 } },
    /^TypeError: c\.json: rope_parameters: rope_type must be default or llama3, got "yarn"$/,
  ],
  [
    "a factor of no type",
    { ...LLAMA, rope_parameters: { factor: 2 } },
    /rope_type must be default/,
  ],
  [
    "rope_parameters by type of layer",
    { ...LLAMA, rope_parameters: { full_attention: {}, sliding_attention: {} } },
    /^TypeError: c\.json: rope_parameters: has a form for each type of layer \(full_attention, sliding_/,
  ],
  [
    "two bases",
    { ...LLAMA, rope_theta: 1e4, rope_parameters: { rope_theta: 5e5 } },
    /^TypeError: c\.json: rope_parameters: rope_theta is 500000, but 10000 in c\.json; remove the one/,
  ],
  [
    "two scalings",
    { ...LLAMA, rope_scaling: LLAMA3, rope_parameters: { ...LLAMA3, factor: 32 } },
    /rope_parameters: the scaling is \{.*32.*\}, but \{.*8.*\} in c\.json: rope_scaling; remove/,
  ],
  [
    "two lengths before scaling",
    { ...LLAMA, rope_parameters: LLAMA3, original_max_position_embeddings: 64 },
    /original_max_position_embeddings must be the scaling's, 32, got 64/,
  ],
  [
    "heads rotated in part",
    { ...LLAMA, rope_parameters: { partial_rotary_factor: 0.5 } },
    /rope_parameters: partial_rotary_factor must be 1: .* not supported, got 0\.5/,
  ],
  [
    "rope_parameters that are no object",
    { ...LLAMA, rope_parameters: [5e5] },
    /c\.json: rope_parameters must be an object, got \[500000\]/,
  ],
  [
    "quantised weights",
    { ...LLAMA, quantization_config: { quant_method: "bitsandbytes", load_in_4bit: true } },
    /^TypeError: c\.json: quantization_config says .* quantised \("bitsandbytes"\); only .*: name the model/,
  ],
  [
    "sliding layers",
    { ...LLAMA, layer_types: ["full_attention", "sliding_attention"] },
    /layer_types must be full_attention in every layer/,
  ],
  ["sliding windows", { ...LLAMA, use_sliding_window: true }, /sliding windows are not supported/],
  ["scaled layers", { model_type: "gpt2", scale_attn_by_inverse_layer_idx: true }, /not supported/],
];

for (const [what, json, message] of REFUSED) {
  Deno.test(`parseModelConfig() refuses ${what}`, () => {
    assert.throws(() => parseModelConfig(json, "c.json"), message);
  });
}
