/**
 * What a run begins from: the model as it is, a checkpoint that the command line names, or a CoT trained for it.
 *
 * Every latent method starts from a trained CoT (the paper, section 4.1). Where a configuration says `start: cot` and no
 * checkpoint is named, that CoT is trained first, as a run of its own with its own folder, on the same data and backbone.
 */
import { basename } from "node:path";
import type { Config } from "../io/config.ts";
import { isBuiltIn } from "../io/config_model.ts";
import { readTestResults, type Report } from "../io/report.ts";
import { runFolderOf } from "../io/run_log.ts";
import type { RunRequest } from "./configure.ts";
import { checkBackbone, checkScale, loadAdapterStart, loadStart } from "./foreign_start.ts";
import type { ResultRow } from "./result_table.ts";
import type { NamedCheckpoint } from "./tensors.ts";
import type { TestResults } from "./test_run.ts";

/** What a run leaves. */
export interface RunOutcome {
  readonly isInterrupted: boolean;
  /** Its folder; undefined where nothing was written. */
  readonly folder?: string;
  /** The best checkpoint, or the last weights where none was saved; undefined when the run was interrupted. */
  readonly best?: NamedCheckpoint;
  /** Undefined where no test was asked for. */
  readonly results?: TestResults;
}

/** Where a run begins. */
export interface Start {
  /** Whether the CoT that was trained for it was interrupted. */
  readonly isInterrupted?: boolean;
  /** The checkpoint; undefined for the model as it is. */
  readonly best?: NamedCheckpoint;
  /** Lines for the table: what that checkpoint reached on the same questions. */
  readonly compared: readonly ResultRow[];
}

// What the CoT shares with the run that it is trained for: the model, the data, how answers are counted, and what
// makes room for it.
const SHARED = new RegExp(
  `^(${
    [
      /seed|profile|evaluation\..+|data_module\.(?!epoch_scaling).+/,
      /dataloader\.val_batch_size|trainer\.activation_checkpointing/,
      /model\.model_kwargs\.(model_id|do_lora|lora_config\..+|freeze_embeddings|pad_row|separator_tokens)/,
    ].map(({ source }) => source).join("|")
  })$`,
);

/**
 * Finds or trains what a run begins from.
 * @param numQuestions questions of the test, by which results are known to be comparable
 * @param trainCot trains a CoT as a run of its own
 * @throws {RangeError} or {SyntaxError} for a checkpoint that is none, is torn, or is of another backbone.
 */
export async function startOf(
  request: RunRequest,
  config: Config,
  numQuestions: number,
  report: Report,
  trainCot: (request: RunRequest) => Promise<RunOutcome>,
): Promise<Start> {
  const { loadPath, adapterPath } = request;
  if (adapterPath !== undefined) {
    return { best: await loadAdapterStart(adapterPath, config), compared: [] };
  }
  if (loadPath !== undefined) {
    const best = await loadStart(loadPath);
    checkBackbone(best, config);
    checkScale(best, config);
    return { best, compared: await comparedRows(loadPath, config, numQuestions) };
  }
  if (!("start" in config.model)) return { compared: [] };
  const name = basename(config.model.target, ".ts");
  if (config.model.start === "none") {
    // CODI's own paper starts from the model as it is; of a method of one's own nothing is known.
    if (name === "codi" || !isBuiltIn(config.model.target)) return { compared: [] };
    report.show(
      `The paper's ${name} starts from a trained CoT: train --model=cot, then name its checkpoint with --load_ckpt_path`,
    );
    return { compared: [] };
  }
  report.show(`${name} starts from a trained CoT: training that first (start=none leaves it out)`);
  const overrides = flat(config).filter(([key]) => SHARED.test(key)).map(([key, value]) =>
    `${key}=${JSON.stringify(value)}`
  );
  const outcome = await trainCot({ ...request, model: "cot", overrides });
  const { isInterrupted, best, results } = outcome;
  if (isInterrupted) {
    report.show(
      `Then: ./denow task train --model=${request.model} --load_ckpt_path=${
        outcome.folder ?? "RUN"
      }/checkpoints/last`,
    );
  }
  return { isInterrupted, best, compared: results?.rows ?? [] };
}

/** What the run that a checkpoint is of has reached on the same questions. */
async function comparedRows(
  path: string,
  { data_module }: Config,
  numQuestions: number,
): Promise<readonly ResultRow[]> {
  const folder = runFolderOf(path);
  if (folder === undefined) return [];
  const results = await readTestResults(folder) as Partial<TestResults> | undefined;
  const isSame = results?.dataset === data_module.dataset_name &&
    results.num_questions === numQuestions;
  return isSame ? results.rows ?? [] : [];
}

/** Values by dotted path. */
function flat(node: unknown, path = ""): [string, unknown][] {
  // Numbers by pattern are one value, whatever names they have.
  const isValue = typeof node !== "object" || node === null || Array.isArray(node) ||
    path.endsWith("_pattern");
  if (isValue) return [[path, node]];
  return Object.entries(node).flatMap(([name, below]) =>
    flat(below, path ? `${path}.${name}` : name)
  );
}
