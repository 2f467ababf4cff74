/** Models of real shapes with random weights, built in memory. */
import type { Gpu } from "../gpu/device.ts";
import { type LlamaConfig, parseModelConfig } from "../llm/config.ts";
import { Llama, llamaTensors } from "../llm/llama.ts";
import { type Precision, Weights, type WeightSource } from "../llm/weights.ts";

/** The small model that the project trains from scratch. */
export const NANO = config({
  vocab_size: 514,
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
  tie_word_embeddings: true,
});

/** HuggingFaceTB/SmolLM2-135M. */
export const SMOLLM2 = config({
  vocab_size: 49152,
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  max_position_embeddings: 8192,
  tie_word_embeddings: true,
});

function config(json: Record<string, unknown>): LlamaConfig {
  return parseModelConfig({ model_type: "llama", ...json }, "bench") as LlamaConfig;
}

/**
 * A Llama with normal weights of deviation 0.02 and norms of 1, the same in every run.
 * @param precision `stored`: matrices in bf16, frozen; `f32`: to be trained
 */
export async function randomLlama(
  gpu: Gpu,
  config: LlamaConfig,
  precision: Precision,
): Promise<Llama> {
  const specs = llamaTensors(config);
  const shapes = new Map(specs.map(({ name, shape }) => [name, shape]));
  const sizeOf = (name: string) => shapes.get(name)!.reduce((size, n) => size * n, 1);
  const block = normals(1 << 16);
  const bits = new Uint16Array(new Uint32Array(block.buffer).map((word) => word >>> 16));
  const source: WeightSource = {
    name: "random weights",
    info: (name) => ({ shape: shapes.get(name)!, dtype: "BF16" }),
    names: () => shapes.keys(),
    readFloat32: (name) => {
      const isNorm = shapes.get(name)!.length === 1;
      const numbers = new Float32Array(sizeOf(name));
      return Promise.resolve(isNorm ? numbers.fill(1) : repeat(block, numbers));
    },
    readHalf: (name) => Promise.resolve(repeat(bits, new Uint16Array(sizeOf(name)))),
  };
  return new Llama(config, await Weights.load(gpu, specs, source, { precision }));
}

/** Fills `out` by one block over and over: 135 million draws would take longer than the benchmark. */
function repeat<T extends Float32Array | Uint16Array>(block: T, out: T): T {
  for (let at = 0; at < out.length; at += block.length) {
    out.set(block.subarray(0, out.length - at) as never, at);
  }
  return out;
}

/** Normal numbers of deviation 0.02 (Box-Muller on a linear congruential generator, Numerical Recipes' constants). */
function normals(count: number): Float32Array {
  let state = 1;
  const uniform = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) + 0.5) / 2 ** 32;
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    return 0.02 * radius * Math.cos(2 * Math.PI * uniform());
  });
}
