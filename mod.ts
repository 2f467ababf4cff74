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
 * A method trains on rows of your own, answers, and is saved; `config` takes the command line's `key=value`:
 *
 * ```ts ignore
 * import { buildMethod, CheckpointFolder, openGpu, Report, resolveConfig, train } from "./mod.ts";
 *
 * const gpu = await openGpu();
 * const rows = [{ question: "2 pens and 3 pens?", steps: ["<<2+3=5>>"], answer: "5" }];
 * const { config } = await resolveConfig({ model: "cot", overrides: ["max_steps=2", "lr=1e-4"] });
 * using built = await buildMethod({ gpu, config, workspace: "." });
 * const { method } = built;
 * const checkpoints = await CheckpointFolder.open("logs/mine/checkpoints");
 * const dataset = { train: rows, val: rows };
 * await train({ gpu, method, config, dataset, report: new Report(), checkpoints });
 * const how = { speed: method.speeds[0], greedy: true, seed: 0 };
 * const [{ output }] = await method.answer([{ id: 0, question: rows[0].question }], how);
 * console.log([output, checkpoints.last]); // test: ./denow task test --ckpt=logs/mine/checkpoints/last
 * ```
 *
 * A checkpoint answers, each question at a thinking speed of its own (`Question.speed`) or at the one that all have;
 * arguments say how it thinks, `n_latent_forward=4` for example:
 *
 * ```ts ignore
 * import { buildMethod, loadCheckpoint, openGpu, restoreConfig, writeTensors } from "./mod.ts";
 *
 * const gpu = await openGpu();
 * const path = "logs/colar/arith/RUN/checkpoints/last";
 * const checkpoint = await loadCheckpoint(path);
 * const { config } = await restoreConfig(checkpoint.config, ["max_n_latent_forward=32"]);
 * using built = await buildMethod({ gpu, config, workspace: "." });
 * const { method } = built;
 * writeTensors(gpu, method.parameters, { path, checkpoint }, { complete: true });
 * const question = "2 pens and 3 pens?";
 * const questions = [{ id: 0, question, speed: 2 }, { id: 1, question, speed: 8 }, { id: 2, question }];
 * const answers = await method.answer(questions, { speed: "auto", greedy: true, seed: 0 });
 * console.log(answers); // output, ids, reasoningLength: the number of latents
 * ```
 *
 * @module
 */
export { Graph } from "./autograd/tape.ts";
export type { QsaDataset, QsaRow } from "./data/qsa.ts";
export { Gpu } from "./gpu/device.ts";
export { type DType, Tensor } from "./gpu/tensor.ts";
export { type Checkpoint, loadCheckpoint, saveCheckpoint } from "./io/checkpoint.ts";
export { CheckpointFolder } from "./io/checkpoint_folder.ts";
export { type Config, type ConfigRequest, resolveConfig, restoreConfig } from "./io/config.ts";
export { loadModel, readModelConfig } from "./io/load_model.ts";
export { openGpu } from "./io/open_gpu.ts";
export { Report } from "./io/report.ts";
export { noLog, openRunLog, type RunLog } from "./io/run_log.ts";
export type { Backbone, ForwardOptions, ForwardResult } from "./llm/backbone.ts";
export { type LlamaConfig, type ModelConfig, parseModelConfig } from "./llm/config.ts";
export { generate, type Generated, type GenerateOptions } from "./llm/generate.ts";
export { KvCache } from "./llm/kv_cache.ts";
export { LoraAdapter, type LoraConfig, mergedWeight } from "./llm/lora.ts";
export { packRows, type RowTokens, type Tokens } from "./llm/tokens.ts";
export { embedding } from "./ops/embedding.ts";
export { crossEntropy, logits } from "./ops/cross_entropy.ts";
export type {
  Answer,
  AnswerOptions,
  CreateMethod,
  Losses,
  Method,
  Question,
  ThinkingSpeed,
  TracedAnswer,
  TraceOptions,
} from "./models/method.ts";
export { AdamW } from "./training/adamw.ts";
export { buildMethod, type Built } from "./training/build.ts";
export { loadData } from "./training/load_data.ts";
export { evaluate, type Evaluation } from "./training/evaluate.ts";
export { readTensors, writeTensors } from "./training/tensors.ts";
export { train, type TrainOptions } from "./training/trainer.ts";
