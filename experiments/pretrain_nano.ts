/**
 * Makes assets/nano, the embedded model: a Llama of 0.8 M parameters trained from a fixed seed on generated word
 * problems and drills (data/arith_text.ts).
 *
 *   ./denow task pretrain:nano            # writes assets/nano and experiments/pretrain_nano.jsonl
 *
 * AdamW (0.9, 0.95), rate 3e-3 with 100 steps of warm-up and a cosine to 3 %, gradient norm clipped at 1; 1,035 steps
 * of 16 rows of 256 tokens. Rows of the embedding table for tokens that the text never shows drift far away under the
 * tied softmax, so they are brought to the mean norm of the others at the end: the scale of the embeddings, in whose
 * units CoLaR measures its latents, is that of the tokens in use.
 */
import { parseArgs } from "node:util";
import { Graph } from "../autograd/tape.ts";
import { PretrainingText } from "../data/arith_text.ts";
import type { Gpu } from "../gpu/device.ts";
import { openGpu } from "../io/open_gpu.ts";
import { saveModel } from "../io/save_model.ts";
import { loadTokenizer, type Tokenizer } from "../io/tokenizer.ts";
import { type LlamaConfig, parseModelConfig } from "../llm/config.ts";
import { initialWeights } from "../llm/initialise.ts";
import { Llama, llamaTensors } from "../llm/llama.ts";
import { packRows } from "../llm/tokens.ts";
import { Weights } from "../llm/weights.ts";
import { crossEntropy } from "../ops/cross_entropy.ts";
import { embedding } from "../ops/embedding.ts";
import { AdamW } from "../training/adamw.ts";

const ROWS = 16;
const LENGTH = 256;
const RATE = 3e-3;
const WARMUP = 100;
const HELD_OUT_SEED = 77;

const { values } = parseArgs({
  options: {
    out: { type: "string", default: "assets/nano" },
    log: { type: "string", default: "experiments/pretrain_nano.jsonl" },
    steps: { type: "string", default: "1035" },
    seed: { type: "string", default: "1" },
  },
});
const steps = Number(values.steps);
const seed = Number(values.seed);

const gpu = await openGpu();
const tokenizer = await loadTokenizer("assets/nano");
const json = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  attention_bias: false,
  eos_token_id: tokenizer.eosId,
  head_dim: 32,
  hidden_act: "silu",
  hidden_size: 128,
  initializer_range: 0.05,
  intermediate_size: 352,
  max_position_embeddings: 512,
  mlp_bias: false,
  num_attention_heads: 4,
  num_hidden_layers: 4,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-5,
  rope_scaling: null,
  rope_theta: 10000,
  tie_word_embeddings: true,
  torch_dtype: "float32",
  vocab_size: tokenizer.padId, // [PAD] is appended when the model is loaded
};
const config = parseModelConfig(json, "nano") as LlamaConfig;
const specs = llamaTensors(config);
const initial = initialWeights(specs, config.initializer_range, seed);
const model = new Llama(config, await Weights.load(gpu, specs, initial));
const parameters = model.weights.train().map((tensor) => ({ name: tensor.name, tensor }));
const optimizer = new AdamW(gpu, parameters, { lr: RATE, betas: [0.9, 0.95] });
const text = new PretrainingText(1000 + seed).batches(tokenizer, ROWS, LENGTH);
const heldOut = new PretrainingText(HELD_OUT_SEED).batches(tokenizer, 32, LENGTH).next().value!;

const log = await Deno.open(values.log, { write: true, create: true, truncate: true });
const start = performance.now();
for (let step = 1; step <= steps; step++) {
  const progress = step / steps;
  const cosine = 0.5 * (1 + Math.cos(Math.PI * progress)) * 0.97 + 0.03;
  const lr = RATE * Math.min(1, step / WARMUP) * cosine;
  const loss = await trainStep(text.next().value!, lr);
  if (!Number.isFinite(loss)) throw new Error(`step ${step}: the loss is ${loss}`);
  if (step % 25 !== 0 && step !== steps) continue;
  const seconds = (performance.now() - start) / 1000;
  const evaluated = step % 100 === 0 || step === steps ? { heldOut: await lossOf(heldOut) } : {};
  const line = {
    step,
    loss: round(loss),
    ...evaluated,
    lr,
    tokens: step * ROWS * LENGTH,
    seconds: Math.round(seconds),
  };
  console.log(JSON.stringify(line));
  await log.write(new TextEncoder().encode(JSON.stringify(line) + "\n"));
}
await rescaleUnusedRows(gpu, model, tokenizer);
await saveModel(values.out, json, model.weights);
log.close();

/** One optimizer step over rows [ROWS, LENGTH + 1]; every token but a row's first is supervised. */
async function trainStep(ids: Uint32Array, lr: number): Promise<number> {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const loss = languageLoss(g, ids);
  optimizer.zeroGrad();
  g.backward([loss]);
  optimizer.clipGradNorm(1);
  optimizer.step({ lr });
  return (await gpu.read(loss))[0];
}

async function lossOf(ids: Uint32Array): Promise<number> {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  return round((await gpu.read(languageLoss(g, ids)))[0]);
}

function languageLoss(g: Graph, ids: Uint32Array) {
  const numRows = ids.length / (LENGTH + 1);
  const rows = Array.from({ length: numRows }, () => ({ length: LENGTH }));
  const isInput = (_: number, i: number) => i % (LENGTH + 1) < LENGTH;
  const isLabel = (_: number, i: number) => i % (LENGTH + 1) > 0;
  const embeds = embedding(g, model.embeddings, ids.filter(isInput));
  const { hidden } = model.forward(g, embeds, packRows(g.scope, rows));
  return crossEntropy(g, hidden, model.head, ids.filter(isLabel));
}

async function rescaleUnusedRows(gpu: Gpu, model: Llama, tokenizer: Tokenizer): Promise<void> {
  const used = new Set<number>();
  const documents = new PretrainingText(5);
  for (let i = 0; i < 20_000; i++) {
    for (const id of tokenizer.encode(documents.next() + tokenizer.eosToken)) used.add(id);
  }
  const table = await gpu.read(model.embeddings);
  const [vocab, width] = model.embeddings.shape;
  const norms = Array.from(
    { length: vocab },
    (_, i) => Math.hypot(...table.subarray(i * width, (i + 1) * width)),
  );
  const mean = [...used].reduce((sum, id) => sum + norms[id], 0) / used.size;
  for (let id = 0; id < vocab; id++) {
    if (used.has(id)) continue;
    for (let j = id * width; j < (id + 1) * width; j++) table[j] *= mean / norms[id];
  }
  gpu.write(model.embeddings, table);
  console.log(`embedding rows in use: ${used.size} of ${vocab}; mean norm ${mean.toFixed(3)}`);
}

function round(x: number): number {
  return Math.round(x * 1e4) / 1e4;
}
