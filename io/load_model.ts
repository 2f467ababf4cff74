/** A model from a folder in Hub layout: config.json decides the architecture, safetensors hold the weights. */
import { join } from "node:path";
import type { Gpu } from "../gpu/device.ts";
import type { Backbone } from "../llm/backbone.ts";
import { type ModelConfig, parseModelConfig } from "../llm/config.ts";
import { Gpt2, gpt2Tensors } from "../llm/gpt2.ts";
import { Llama, llamaTensors } from "../llm/llama.ts";
import { type Precision, Weights, type WeightSource } from "../llm/weights.ts";
import { openCheckpoint, type Safetensors } from "./safetensors.ts";

/**
 * Reads a folder's config.json.
 * @throws {TypeError} when it is absent, not JSON, or not of a supported architecture.
 */
export async function readModelConfig(folder: string): Promise<ModelConfig> {
  const file = join(folder, "config.json");
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (cause) {
    throw new TypeError(
      `${file}: cannot be read; a model folder has config.json and model.safetensors`,
      { cause },
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new TypeError(`${file}: not valid JSON`);
  }
  return parseModelConfig(json, file);
}

/**
 * Loads a model onto the device.
 * @param folder config.json with model.safetensors or its shards
 * @param precision `stored` keeps bf16 matrices as they are; `f32` widens them for full training
 * @throws {TypeError} listing tensors that are missing, unexpected or of the wrong shape, before any upload.
 */
export async function loadModel(
  gpu: Gpu,
  folder: string,
  precision: Precision = "stored",
): Promise<Backbone> {
  const config = await readModelConfig(folder);
  using file = await openCheckpoint(folder);
  const source = weightSource(file, folder);
  if (config.model_type === "gpt2") {
    return new Gpt2(
      config,
      await Weights.load(gpu, gpt2Tensors(config), source, {
        prefix: "transformer.",
        precision,
        ignored: config.tie_word_embeddings ? ["lm_head.weight"] : [],
      }),
    );
  }
  const ignored = config.tie_word_embeddings ? ["lm_head.weight"] : [];
  const weights = await Weights.load(gpu, llamaTensors(config), source, { precision, ignored });
  return new Llama(config, weights);
}

function weightSource(file: Safetensors, name: string): WeightSource {
  return {
    name,
    info: (tensor) => file.tensors.get(tensor),
    names: () => file.tensors.keys(),
    readFloat32: (tensor) => file.readFloat32(tensor),
    readBf16: async (tensor) => new Uint16Array((await file.read(tensor)).buffer),
  };
}
