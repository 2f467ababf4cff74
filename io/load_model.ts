/** A model from a folder in Hub layout: config.json decides the architecture, safetensors hold the weights. */
import { join } from "node:path";
import type { Gpu } from "../gpu/device.ts";
import type { Backbone } from "../llm/backbone.ts";
import { type ModelConfig, parseModelConfig } from "../llm/config.ts";
import { Gpt2, gpt2Tensors } from "../llm/gpt2.ts";
import { Llama, llamaTensors } from "../llm/llama.ts";
import { type Precision, Weights, type WeightSource } from "../llm/weights.ts";
import { availableMemory, checkFits } from "./device_memory.ts";
import { openCheckpoint } from "./safetensors.ts";

/**
 * Reads a folder's config.json.
 * @throws {TypeError} when it is absent, not JSON, or not of a supported architecture.
 */
export async function readModelConfig(folder: string): Promise<ModelConfig> {
  return parseModelConfig(await readModelJson(folder), join(folder, "config.json"));
}

/**
 * A folder's config.json as it stands.
 * @throws {TypeError} when it is absent or not JSON.
 */
export async function readModelJson(folder: string): Promise<Record<string, unknown>> {
  const file = join(folder, "config.json");
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (cause) {
    throw new TypeError(
      `${file}: cannot be read; a model folder has config.json and model.safetensors: name one`,
      { cause },
    );
  }
  return parseModelJson(text, file);
}

/**
 * The content of a config.json.
 * @param file its name in messages
 * @throws {TypeError} when it is not JSON.
 */
export function parseModelJson(text: string, file: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch {
    throw new TypeError(`${file}: not valid JSON; fetch or save the file again`);
  }
}

/**
 * Loads a model onto the device.
 * @param folder config.json with model.safetensors or its shards
 * @param precision `stored` keeps 16-bit matrices as they are; `f32` widens them for full training
 * @throws {TypeError} listing tensors that are missing, unexpected or of the wrong shape, {RangeError} for a model that
 * does not fit, both before any upload.
 */
export async function loadModel(
  gpu: Gpu,
  folder: string,
  precision: Precision = "stored",
): Promise<Backbone> {
  const config = await readModelConfig(folder);
  using source = await openWeights(folder);
  const beforeUpload = (byteLengths: readonly number[]) => {
    checkFits(folder, byteLengths, gpu.limits, availableMemory(gpu));
    return Promise.resolve();
  };
  if (config.model_type === "gpt2") {
    return new Gpt2(
      config,
      await Weights.load(gpu, gpt2Tensors(config), source, {
        prefix: "transformer.",
        precision,
        beforeUpload,
        ignored: config.tie_word_embeddings ? ["lm_head.weight"] : [],
      }),
    );
  }
  const ignored = config.tie_word_embeddings ? ["lm_head.weight"] : [];
  const options = { precision, ignored, beforeUpload };
  const weights = await Weights.load(gpu, llamaTensors(config), source, options);
  return new Llama(config, weights);
}

/**
 * The weights of a model's folder, of which nothing is read yet; disposing closes the files.
 * @throws as `openCheckpoint` does.
 */
export async function openWeights(folder: string): Promise<WeightSource & Disposable> {
  const file = await openCheckpoint(folder);
  return {
    name: folder,
    [Symbol.dispose]: () => file[Symbol.dispose](),
    info: (tensor) => file.tensors.get(tensor),
    names: () => file.tensors.keys(),
    readFloat32: (tensor) => file.readFloat32(tensor),
    readHalf: async (tensor) => {
      const { buffer } = await file.read(tensor);
      const isF16 = file.tensors.get(tensor)!.dtype === "F16";
      return isF16 ? new Float16Array(buffer) : new Uint16Array(buffer);
    },
  };
}
