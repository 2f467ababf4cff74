/**
 * From a configuration to its rows: generated, of a folder in the published layout, or of a published data set.
 */
import { join } from "node:path";
import { ARITH_VARIANTS, arithDataset, type ArithVariant } from "../data/arith.ts";
import { loadQsa, type QsaDataset, tinyDataset } from "../data/qsa.ts";
import { loadSource, sourceLines } from "../data/source_dataset.ts";
import { cacheFolder } from "../io/cache_folder.ts";
import { type Config, restoreConfig } from "../io/config.ts";
import type { HubOptions } from "../io/hub.ts";
import { findFolder } from "./build.ts";

const GENERATED = { train: 32000, val: 200, test: 300 }; // rows, where a configuration says nothing

/** A data set, and lines that tell where it came from: none for one that is generated or read as it is. */
export interface LoadedData extends QsaDataset {
  readonly lines: readonly string[];
  /** A `source` that names the same rows for ever: a set of the Hub with its commit. */
  readonly origin?: string;
}

/**
 * Loads or generates the three splits. A `source` on this disk goes before a folder that `dataset_name` names, and
 * that before the Hub.
 * @param hub how the Hub is asked
 * @throws {TypeError} or {RangeError} for a missing folder or a broken row, by name.
 */
export async function loadData(
  { data_module }: Config,
  workspace: string,
  hub?: HubOptions,
): Promise<LoadedData> {
  const { dataset_name: name, n_train: train, n_val: val, n_test: test } = data_module;
  const asked: Record<string, number> = {};
  for (const [split, count] of Object.entries({ train, val, test })) {
    if (count !== null) asked[split] = count;
  }
  const variant = arithVariant(name);
  const { lines = [], origin, ...whole }: QsaDataset & Partial<LoadedData> = variant
    ? arithDataset({ ...GENERATED, ...asked }, variant)
    : await loadRows(data_module, workspace, hub);
  const { dataset, cuts } = firstRows(whole, asked);
  return {
    ...data_module.tiny_dataset ? tinyDataset(dataset) : dataset,
    lines: cuts.length > 0 ? [...lines, `  of these the first ${cuts.join(", ")}`] : lines,
    origin,
  };
}

/** The first rows of each split, as many as are asked for, and what that leaves out, in words. */
function firstRows(
  whole: QsaDataset,
  asked: Readonly<Record<string, number>>,
): { readonly dataset: QsaDataset; readonly cuts: readonly string[] } {
  const cut = (split: keyof QsaDataset) => whole[split].slice(0, asked[split]);
  const dataset = { train: cut("train"), val: cut("val"), test: cut("test") };
  const shorter = (["train", "val", "test"] as const).filter((split) =>
    dataset[split].length < whole[split].length
  );
  return { dataset, cuts: shorter.map((split) => `${dataset[split].length} ${split}`) };
}

/**
 * Refuses to train on a data set that is only for tests; to be asked before training.
 * @throws {RangeError} saying where its rows are and what to train on.
 */
export function checkTrainingRows(
  { train, val }: QsaDataset,
  { data_module: { dataset_name: name, test_split: split } }: Config,
): void {
  if (train.length > 0 && val.length > 0) return;
  const part = train.length === 0 ? "train" : "validate";
  throw new RangeError(
    `${name} has no row to ${part} on with test_split=${split}; train on another set, as with ` +
      `--dataset=gsm8k_aug, and test on it with ./denow task test --ckpt=... --dataset=${name}`,
  );
}

/** Writes a set's commit into the configuration: whoever goes on with the run or tests its checkpoints gets its rows. */
export async function pinData(config: Config, { origin }: LoadedData): Promise<Config> {
  if (origin === undefined) return config;
  return (await restoreConfig(config, [`data_module.source=${origin}`])).config;
}

async function loadRows(
  data: Config["data_module"],
  workspace: string,
  hub?: HubOptions,
): Promise<QsaDataset & Partial<LoadedData>> {
  const { dataset_name: name, source, test_split: testSplit } = data;
  const local = source === null
    ? undefined
    : await findFolder(source, join(workspace, "datasets", source));
  const named = local === undefined && await findFolder(name, join(workspace, "datasets", name));
  const isPath = name.includes("/"); // it is meant for a folder, which is not there
  if (source === null || named || local === undefined && isPath) {
    return await loadQsa(named || name);
  }
  const cache = cacheFolder();
  const { facts, ...rows } = await loadSource({
    source: local ?? source,
    testSplit,
    gsm8kSteps: data.gsm8k_steps,
    questionText: data.question_text,
    boxedAnswer: data.boxed_answer,
    cacheFolder: cache && join(cache, "datasets"),
    hub,
  });
  const origin = local === undefined ? facts.origin : undefined;
  return { ...rows, lines: sourceLines(name, testSplit, { ...rows, facts }), origin };
}

/** `arith`, or `arith_hard`, `arith_reworded`, `arith_short`: the data sets that are generated. */
function arithVariant(name: string): ArithVariant | undefined {
  const variants = Object.keys(ARITH_VARIANTS) as ArithVariant[];
  return variants.find((v) => name === (v === "arith" ? v : `arith_${v}`));
}
