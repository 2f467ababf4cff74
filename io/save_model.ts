/** A model to a folder in Hub layout: config.json, model.safetensors, and the tokenizer's files. */
import { join } from "node:path";
import type { Weights } from "../llm/weights.ts";
import { writeAtomic } from "./atomic.ts";
import { type TensorData, writeSafetensors } from "./safetensors.ts";

/**
 * Writes a folder that `loadModel` and transformers read.
 * @param folder made if absent
 * @param config what config.json is to hold
 * @param weights f32 tensors, written under their names as the architecture's files have them
 */
export async function saveModel(
  folder: string,
  config: Readonly<Record<string, unknown>>,
  weights: Weights,
): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const tensors = new Map<string, TensorData>();
  for (const name of weights.entries.keys()) {
    const data = Float32Array.from(await weights.read(name));
    tensors.set(name, { dtype: "F32", shape: weights.fileShape(name), data });
  }
  const metadata = new Map([["format", "pt"]]);
  await writeSafetensors(join(folder, "model.safetensors"), tensors, metadata);
  await writeAtomic(join(folder, "config.json"), JSON.stringify(config, null, 2) + "\n");
}
