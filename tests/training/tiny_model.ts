/** A model folder for tests: one layer of random weights under the embedded model's tokenizer. */
import { join } from "node:path";
import type { Gpu } from "../../gpu/device.ts";
import { saveModel } from "../../io/save_model.ts";
import { loadTokenizer } from "../../io/tokenizer.ts";
import { type LlamaConfig, parseModelConfig } from "../../llm/config.ts";
import { initialWeights } from "../../llm/initialise.ts";
import { llamaTensors } from "../../llm/llama.ts";
import { Weights } from "../../llm/weights.ts";

const NANO = new URL("../../assets/nano", import.meta.url).pathname;

/** Arguments that make a run of seconds out of the embedded one. */
export const QUICK = [
  ...["n_train=24", "n_val=3", "n_test=5", "batch_size=4", "max_steps=4", "epoch_scaling=0.5"],
  ...["max_new_tokens=4", "test_times=2"],
];

/** Further arguments of CoLaR, which only its schema has. */
export const QUICK_COLAR = ["max_n_latent_forward=3", "lp_intermediate_size=8"];

/**
 * Writes a model folder.
 * @param hidden its hidden size
 * @returns its path
 */
export async function tinyModel(gpu: Gpu, parent: string, name = "tiny", hidden = 16) {
  const folder = join(parent, name);
  const tokenizer = await loadTokenizer(NANO);
  const json = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    eos_token_id: tokenizer.eosId,
    head_dim: 8,
    hidden_act: "silu",
    hidden_size: hidden,
    initializer_range: 0.05,
    intermediate_size: 24,
    max_position_embeddings: 512,
    num_attention_heads: 2,
    num_hidden_layers: 1,
    num_key_value_heads: 1,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
    torch_dtype: "float32",
    vocab_size: tokenizer.padId,
  };
  const specs = llamaTensors(parseModelConfig(json, name) as LlamaConfig);
  using weights = await Weights.load(gpu, specs, initialWeights(specs, 0.05, 3));
  await saveModel(folder, json, weights);
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(join(NANO, file), join(folder, file));
  }
  return folder;
}

/** Runs work in a workspace that has a tiny model, and removes it. */
export async function inWorkspace(
  gpu: Gpu,
  work: (workspace: string, model: string) => Promise<void>,
): Promise<void> {
  const workspace = await Deno.makeTempDir();
  try {
    await work(workspace, await tinyModel(gpu, workspace));
  } finally {
    await Deno.remove(workspace, { recursive: true });
  }
}

/** Runs work and collects what it prints by console.log and console.error. */
export async function captured<T>(
  work: () => Promise<T>,
): Promise<{ result: T; out: string; errors: string }> {
  const { log, error } = console;
  const printed: Record<"out" | "errors", string[]> = { out: [], errors: [] };
  console.log = (line: string) => printed.out.push(line);
  console.error = (line: string) => printed.errors.push(line);
  try {
    const result = await work();
    return { result, out: printed.out.join("\n"), errors: printed.errors.join("\n") };
  } finally {
    console.log = log;
    console.error = error;
  }
}
