/**
 * A run that may not fit its device, told before the model is loaded: a step over the heaviest batch of the first epoch is
 * planned (memory_plan.ts) and compared with what is free.
 *
 * It is an estimate, so it warns and refuses nothing: rows are laid out as CoT's, what a method trains and computes beside
 * the backbone is not in it, and batches are compared by their characters, so that only one is tokenised. Where the model
 * is small beside what is free nothing is planned; where nobody knows what is free, neither.
 */
import { BatchStream } from "../data/batch.ts";
import { answerIds, cotStepsIds, type Encoder, questionIds } from "../data/prompt.ts";
import type { QsaRow } from "../data/qsa.ts";
import { apart, availableMemory, gibibytes } from "../io/device_memory.ts";
import type { Config } from "../io/config.ts";
import { checkCombinations } from "../io/config_rules.ts";
import { readModelConfig } from "../io/load_model.ts";
import { openCheckpoint } from "../io/safetensors.ts";
import { loadTokenizer } from "../io/tokenizer.ts";
import { type PlannedModel, planStep } from "./memory_plan.ts";
import { typesIn } from "./plan_model.ts";
import { reinforcementOf } from "./question_sample.ts";
import { runLength } from "./schedule.ts";

/** What is compared. */
export interface MemoryRequest {
  readonly device: PlannedModel["device"];
  readonly config: Config;
  /** The model's. */
  readonly folder: string;
  /** All that may be trained on. */
  readonly rows: readonly QsaRow[];
}

const SMALL_SHARE = 1 / 1000; // weights of so much of what is free leave room for any usual batch

/**
 * Compares a run's training step with the memory that is free.
 * @returns a line with both and what to set, or undefined where the step fits or nobody knows
 */
export async function memoryWarning(
  { device, config, folder, rows }: MemoryRequest,
  available = availableMemory(device),
): Promise<string | undefined> {
  if (!available) return undefined;
  const { model_kwargs: options } = config.model;
  using weights = await openCheckpoint(folder);
  const stored = [...weights.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  if (stored < SMALL_SHARE * available.bytes) return undefined;
  const storedAs = typesIn(weights.tensors);
  const model = { config: await readModelConfig(folder), storedAs, device };
  const tokenizer = await loadTokenizer(folder, options.separator_tokens);
  const lengths = heaviestBatch(rows, config).map((row) =>
    Math.min(lengthOf(tokenizer, row), longestRow(model))
  );
  const { activation_checkpointing } = config.trainer;
  const planned = (checkpointed = activation_checkpointing) =>
    planStep(model, { lengths, options, checkpointed }).bytes;
  const bytes = planned();
  if (bytes <= available.bytes) return undefined;
  const [needed, free] = apart(bytes, available.bytes);
  const numTokens = lengths.reduce((sum, length) => sum + length, 0);
  return `Warning: a training step may not fit: by the plan ${lengths.length} rows, ${numTokens} tokens, take ` +
    `${needed}, ${free} are available (${available.origin}); ` +
    `set ${remediesOf(config, () => planned(true)).join(", or ")}`;
}

/** The batch of the first epoch with the most characters; of reinforcement, as many rows as one pass has. */
function heaviestBatch(rows: readonly QsaRow[], config: Config): QsaRow[] {
  const rl = reinforcementOf(config);
  const batchSize = rl?.exp_batch_size ?? config.dataloader.batch_size;
  const sizes = rows.map(({ question, steps, answer }) =>
    steps.reduce((sum, step) => sum + step.length, question.length + answer.length)
  );
  const stream = new BatchStream({ numRows: rows.length, batchSize, seed: config.seed });
  const numBatches = rl ? Infinity : runLength(config, rows.length).numSteps *
    config.trainer.accumulate_grad_batches;
  let [heaviest, most] = [new Uint32Array(), -1];
  for (let i = 0; i < Math.min(numBatches, stream.batchesPerEpoch); i++) {
    const batch = stream.next().rows;
    const size = batch.reduce((sum, row) => sum + sizes[row], 0);
    if (size > most) [heaviest, most] = [batch as Uint32Array<ArrayBuffer>, size];
  }
  return Array.from(heaviest, (row) => rows[row]);
}

function lengthOf(tokenizer: Encoder, { question, steps, answer }: QsaRow): number {
  const parts = [
    questionIds(tokenizer, question, 1),
    cotStepsIds(tokenizer, steps),
    answerIds(tokenizer, answer),
  ];
  return parts.reduce((sum, { length }) => sum + length, 0);
}

/** A row that is longer is refused by its name when it is trained on. */
function longestRow({ config }: PlannedModel): number {
  return config.model_type === "gpt2" ? config.n_positions : config.max_position_embeddings;
}

/** What would take less memory. */
function remediesOf(config: Config, checkpointedBytes: () => number): string[] {
  const { trainer, dataloader, model: { model_kwargs: { do_lora } } } = config;
  const rl = reinforcementOf(config);
  const remedies = do_lora ? [] : ["do_lora=True"];
  if (!trainer.activation_checkpointing && mayCheckpoint(config)) {
    remedies.push(`activation_checkpointing=True (${gibibytes(checkpointedBytes())})`);
  }
  if (rl && rl.exp_batch_size > 1) remedies.push("a smaller exp_batch_size");
  if (!rl && dataloader.batch_size > 1) {
    remedies.push("a smaller batch_size (accumulate_grad_batches adds batches up)");
  }
  return remedies.length > 0 ? remedies : ["a smaller model"];
}

function mayCheckpoint({ trainer, ...config }: Config): boolean {
  try {
    checkCombinations({ ...config, trainer: { ...trainer, activation_checkpointing: true } });
    return true;
  } catch {
    return false; // the method trains through a cache
  }
}
