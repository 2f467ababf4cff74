/**
 * colar-webgpu: language models that reason in compressed latent steps, on WebGPU.
 *
 * ```ts ignore
 * import { Graph, loadModel, openGpu, packRows, embedding } from "./mod.ts";
 *
 * const gpu = await openGpu();
 * const model = await loadModel(gpu, "assets/nano");
 * using step = gpu.scope();
 * const g = new Graph(gpu, step, { training: false });
 * const ids = Uint32Array.of(1, 403, 407);
 * const tokens = packRows(step, [{ length: ids.length }]);
 * const { hidden } = model.forward(g, embedding(g, model.embeddings, ids), tokens);
 * console.log(await gpu.read(hidden)); // [3, hidden_size]
 * ```
 *
 * @module
 */
export { Graph } from "./autograd/tape.ts";
export { Gpu } from "./gpu/device.ts";
export { type DType, Tensor } from "./gpu/tensor.ts";
export { loadModel, readModelConfig } from "./io/load_model.ts";
export { openGpu } from "./io/open_gpu.ts";
export type { Backbone, ForwardOptions, ForwardResult } from "./llm/backbone.ts";
export { type LlamaConfig, type ModelConfig, parseModelConfig } from "./llm/config.ts";
export { generate, type Generated, type GenerateOptions } from "./llm/generate.ts";
export { KvCache } from "./llm/kv_cache.ts";
export { LoraAdapter, type LoraConfig, mergedWeight } from "./llm/lora.ts";
export { packRows, type RowTokens, type Tokens } from "./llm/tokens.ts";
export { embedding } from "./ops/embedding.ts";
export { crossEntropy, logits } from "./ops/cross_entropy.ts";
export { AdamW } from "./training/adamw.ts";
