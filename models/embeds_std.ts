/** The scale of a model's token embeddings, in whose units CoLaR's latent head predicts. */
import type { Backbone } from "../llm/backbone.ts";
import { embedding } from "../ops/embedding.ts";
import { Graph } from "../autograd/tape.ts";

/** The published constants (utils/constants.py), by the last part of the model's name. */
const PUBLISHED: Readonly<Record<string, number>> = {
  "Llama-3.2-1B-Instruct": 0.018,
  "Llama-3.2-3B-Instruct": 0.018,
  "Llama-3.1-8B-Instruct": 0.008,
  "DeepSeek-R1-Distill-Qwen-1.5B": 0.03,
  "gpt2": 0.12,
};

const ROWS_PER_READ = 4096;

/**
 * The scale that a configuration asks for.
 * @param value a number, or `auto`: the published constant of the model, else what its embedding matrix measures
 * @param modelId name or folder of the model, or its id and commit on the Hub
 * @param padId row that does not count
 */
export async function embedsStd(
  backbone: Backbone,
  value: number | "auto",
  modelId: string,
  padId: number,
): Promise<number> {
  if (value !== "auto") return value;
  const name = modelId.replace(/\/+$|@[0-9a-f]{40}$/, "").split("/").at(-1) ?? "";
  if (Object.hasOwn(PUBLISHED, name)) return PUBLISHED[name];
  return await measureStd(backbone, padId);
}

/** Standard deviation of all numbers of the embedding matrix but those of row `padId`. */
async function measureStd({ weights, embeddings }: Backbone, padId: number): Promise<number> {
  let [count, mean, squares] = [0, 0, 0]; // Welford: sums of squares alone would cancel
  for (let first = 0; first < embeddings.shape[0]; first += ROWS_PER_READ) {
    using scope = weights.gpu.scope();
    const g = new Graph(weights.gpu, scope, { training: false });
    const length = Math.min(ROWS_PER_READ, embeddings.shape[0] - first);
    const ids = Uint32Array.from({ length }, (_, i) => first + i).filter((id) => id !== padId);
    for (const x of await weights.gpu.read(embedding(g, embeddings, ids))) {
      const difference = x - mean;
      mean += difference / ++count;
      squares += difference * (x - mean);
    }
  }
  return Math.sqrt(squares / count);
}
