/**
 * What a checkpoint's config.json says, checked: the architecture and its sizes, under the Hub's own key names.
 *
 * Source: transformers' LlamaConfig, Qwen2Config and GPT2Config, whose defaults apply where a key is absent.
 */

/** `rope_scaling` of Llama 3: low frequencies divided by `factor`, a smooth band between. */
export interface Llama3RopeScaling {
  readonly rope_type: "llama3";
  readonly factor: number;
  readonly low_freq_factor: number;
  readonly high_freq_factor: number;
  readonly original_max_position_embeddings: number;
}

/** Llama and Qwen2: rotary positions, RMSNorm, SwiGLU, grouped-query attention. */
export interface LlamaConfig {
  readonly model_type: "llama" | "qwen2";
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  readonly rope_scaling: Llama3RopeScaling | null;
  readonly tie_word_embeddings: boolean;
  /** Biases of q, k and v (Qwen2 always, Llama with `attention_bias`); Llama's key covers o as well. */
  readonly qkv_bias: boolean;
  readonly output_bias: boolean;
  readonly mlp_bias: boolean;
  readonly initializer_range: number;
}

/** GPT-2: learned positions, LayerNorm, Conv1D weights of layout [in, out]. */
export interface Gpt2Config {
  readonly model_type: "gpt2";
  readonly vocab_size: number;
  readonly n_embd: number;
  readonly n_inner: number;
  readonly n_layer: number;
  readonly n_head: number;
  readonly n_positions: number;
  readonly layer_norm_epsilon: number;
  readonly activation_function: "gelu_new" | "gelu";
  readonly tie_word_embeddings: boolean;
  readonly initializer_range: number;
}

/** Any architecture that is supported. */
export type ModelConfig = LlamaConfig | Gpt2Config;

const SUPPORTED = "gpt2, llama, qwen2";

/**
 * Reads a parsed config.json.
 * @param json the file's value
 * @param file its name, for messages
 * @throws {TypeError} for an unknown architecture, or a missing or impossible value, naming file and key.
 */
export function parseModelConfig(json: unknown, file: string): ModelConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new TypeError(`${file}: expected a JSON object with 'model_type'`);
  }
  const read = new Reader(json as Record<string, unknown>, file);
  const type = read.raw("model_type");
  checkUnquantised(read);
  if (type === "gpt2") return parseGpt2(read);
  if (type === "llama" || type === "qwen2") return parseLlama(read, type);
  throw new TypeError(
    `${file}: model_type ${JSON.stringify(type)} is not supported; supported are ${SUPPORTED}`,
  );
}

/** Quantised weights are packed with scales that no kernel here reads. */
function checkUnquantised(read: Reader): void {
  const key = "quantization_config";
  const value = read.raw(key) ?? null;
  const { quant_method = "unknown" } = (value ?? {}) as Record<string, unknown>;
  if (value === null) return;
  throw new TypeError(
    `${read.file}: ${key} says that the weights are quantised (${JSON.stringify(quant_method)}); ` +
      "only bfloat16, float16 and float32 are supported: name the model that it was made from",
  );
}

function parseLlama(read: Reader, model_type: "llama" | "qwen2"): LlamaConfig {
  const hidden_size = read.count("hidden_size");
  const num_attention_heads = read.count("num_attention_heads");
  const num_key_value_heads = read.count("num_key_value_heads", num_attention_heads);
  const head_dim = read.count("head_dim", hidden_size / num_attention_heads);
  read.require(
    num_attention_heads % num_key_value_heads === 0,
    "num_attention_heads",
    num_attention_heads,
    `a multiple of num_key_value_heads ${num_key_value_heads}`,
  );
  read.require(head_dim % 2 === 0, "head_dim", head_dim, "even");
  read.choice("hidden_act", ["silu"], "silu");
  read.require(
    read.raw("use_sliding_window") !== true,
    "use_sliding_window",
    true,
    "false: sliding windows are not supported",
  );
  const layerTypes = read.raw("layer_types") ?? [];
  read.require(
    Array.isArray(layerTypes) && layerTypes.every((type) => type === "full_attention"),
    "layer_types",
    layerTypes,
    "full_attention in every layer",
  );
  const attention_bias = read.flag("attention_bias", false);
  return {
    model_type,
    vocab_size: read.count("vocab_size"),
    hidden_size,
    intermediate_size: read.count("intermediate_size"),
    num_hidden_layers: read.count("num_hidden_layers"),
    num_attention_heads,
    num_key_value_heads,
    head_dim,
    max_position_embeddings: read.count("max_position_embeddings"),
    rms_norm_eps: read.positive("rms_norm_eps", 1e-6),
    ...parseRope(read),
    tie_word_embeddings: read.flag("tie_word_embeddings", false),
    qkv_bias: model_type === "qwen2" || attention_bias,
    output_bias: model_type === "llama" && attention_bias,
    mlp_bias: read.flag("mlp_bias", false),
    initializer_range: read.positive("initializer_range", 0.02),
  };
}

/**
 * Base and scaling of rotary positions: `rope_theta` and `rope_scaling` until transformers 4, `rope_parameters` with both
 * in it from 5 on. A file that has both forms must say the same in them: some programs read the one, some the other.
 */
function parseRope(read: Reader): Pick<LlamaConfig, "rope_theta" | "rope_scaling"> {
  const forms = ["rope_scaling", "rope_parameters"].flatMap((key) => read.object(key) ?? []);
  const thetas = [read, ...forms].filter((form) => (form.raw("rope_theta") ?? null) !== null)
    .map((form) => [form.file, form.positive("rope_theta")] as const);
  const scalings = forms.map((form) => [form.file, parseScaling(form)] as const);
  const rope_scaling = agreed("the scaling", scalings) ?? null;
  if (rope_scaling) {
    const { original_max_position_embeddings: inner } = rope_scaling;
    const key = "original_max_position_embeddings";
    read.require((read.raw(key) ?? inner) === inner, key, read.raw(key), `the scaling's, ${inner}`);
  }
  checkWhole(read);
  return { rope_theta: agreed("rope_theta", thetas) ?? 10000, rope_scaling };
}

/** What each place says of one thing: the same, or it is refused. */
function agreed<T>(key: string, said: readonly (readonly [place: string, value: T])[]) {
  const [[first, value] = []] = said;
  for (const [place, other] of said) {
    if (JSON.stringify(other) === JSON.stringify(value)) continue;
    throw new TypeError(
      `${place}: ${key} is ${JSON.stringify(other)}, but ${JSON.stringify(value)} in ${first}; ` +
        "remove the one that the model was not trained with",
    );
  }
  return value;
}

function parseScaling(read: Reader): Llama3RopeScaling | null {
  const layerTypes = read.objectKeys();
  if (layerTypes.length > 0) {
    throw new TypeError(
      `${read.file}: has a form for each type of layer (${layerTypes.join(", ")}); ` +
        "only one form for all layers is supported",
    );
  }
  checkWhole(read);
  const named = read.raw("rope_type") ?? read.raw("type");
  const type = named ?? (read.raw("factor") === undefined ? "default" : undefined);
  if (type === "default") return null;
  read.require(type === "llama3", "rope_type", type, "default or llama3");
  return {
    rope_type: "llama3",
    factor: read.positive("factor"),
    low_freq_factor: read.positive("low_freq_factor"),
    high_freq_factor: read.positive("high_freq_factor"),
    original_max_position_embeddings: read.count("original_max_position_embeddings"),
  };
}

function checkWhole(read: Reader): void {
  const key = "partial_rotary_factor";
  const rule = "1: heads that are rotated in part are not supported";
  read.require((read.raw(key) ?? 1) === 1, key, read.raw(key), rule);
}

function parseGpt2(read: Reader): Gpt2Config {
  const n_embd = read.count("n_embd", 768);
  const n_head = read.count("n_head", 12);
  read.require(n_embd % n_head === 0, "n_embd", n_embd, `a multiple of n_head ${n_head}`);
  for (const key of ["scale_attn_by_inverse_layer_idx", "add_cross_attention"]) {
    read.require(read.raw(key) !== true, key, true, "false: it is not supported");
  }
  read.require(read.raw("scale_attn_weights") !== false, "scale_attn_weights", false, "true");
  return {
    model_type: "gpt2",
    vocab_size: read.count("vocab_size", 50257),
    n_embd,
    n_inner: read.count("n_inner", 4 * n_embd),
    n_layer: read.count("n_layer", 12),
    n_head,
    n_positions: read.count("n_positions", 1024),
    layer_norm_epsilon: read.positive("layer_norm_epsilon", 1e-5),
    activation_function: read.choice("activation_function", ["gelu_new", "gelu"], "gelu_new"),
    tie_word_embeddings: read.flag("tie_word_embeddings", true),
    initializer_range: read.positive("initializer_range", 0.02),
  };
}

class Reader {
  constructor(private readonly values: Record<string, unknown>, readonly file: string) {}

  /** The value as it stands; null counts as absent everywhere else. */
  raw(key: string): unknown {
    return Object.hasOwn(this.values, key) ? this.values[key] : undefined;
  }

  /** An object below, whose keys messages name by this one; undefined where it is absent. */
  object(key: string): Reader | undefined {
    const value = this.raw(key);
    if (value === undefined || value === null) return undefined;
    this.require(typeof value === "object" && !Array.isArray(value), key, value, "an object");
    return new Reader(value as Record<string, unknown>, `${this.file}: ${key}`);
  }

  /** Keys whose values are objects. */
  objectKeys(): string[] {
    return Object.keys(this.values).filter((key) => {
      const value = this.values[key];
      return typeof value === "object" && value !== null && !Array.isArray(value);
    });
  }

  require(ok: boolean, key: string, value: unknown, rule: string): void {
    if (!ok) {
      throw new TypeError(`${this.file}: ${key} must be ${rule}, got ${JSON.stringify(value)}`);
    }
  }

  count(key: string, otherwise?: number): number {
    const value = this.raw(key) ?? otherwise;
    this.require(Number.isSafeInteger(value) && value as number > 0, key, value, "an integer > 0");
    return value as number;
  }

  positive(key: string, otherwise?: number): number {
    const value = this.raw(key) ?? otherwise;
    const ok = typeof value === "number" && Number.isFinite(value) && value > 0;
    this.require(ok, key, value, "a number > 0");
    return value as number;
  }

  flag(key: string, otherwise: boolean): boolean {
    const value = this.raw(key) ?? otherwise;
    this.require(typeof value === "boolean", key, value, "true or false");
    return value as boolean;
  }

  choice<T extends string>(key: string, choices: readonly T[], otherwise: T): T {
    const value = this.raw(key) ?? otherwise;
    this.require(choices.includes(value as T), key, value, choices.join(" or "));
    return value as T;
  }
}
