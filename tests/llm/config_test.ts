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
  ["sliding windows", { ...LLAMA, use_sliding_window: true }, /sliding windows are not supported/],
  ["scaled layers", { model_type: "gpt2", scale_attn_by_inverse_layer_idx: true }, /not supported/],
];

for (const [what, json, message] of REFUSED) {
  Deno.test(`parseModelConfig() refuses ${what}`, () => {
    assert.throws(() => parseModelConfig(json, "c.json"), message);
  });
}
