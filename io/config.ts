/**
 * A run's configuration: trainer <- model <- dataset YAML <- `key=value` arguments, each over what stands before it.
 *
 * The model's YAML names the class to build (`target: models/colar.ts`), which decides what keys there are. A dataset's
 * YAML may hold settings for one model only, under `models`. Last, switches that follow `profile` take its preset, and
 * `max_epochs`, which counts passes over the training rows, is divided by `epoch_scaling`, the passes of one epoch.
 * As in the published harness (xiaomi-research/colar, run.py); config_override.ts says where arguments differ.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { shown } from "./config_kinds.ts";
import { applyArgument, checkedSetting, type Setting } from "./config_override.ts";
import { type Profile, switchValue } from "./config_profile.ts";
import { type Config, SCHEMAS } from "./config_schema.ts";
import {
  flatten,
  formatYaml,
  isMapping,
  type Keys,
  keysOf,
  nest,
  parseYaml,
  type Values,
} from "./config_tree.ts";

export type { ColarConfig, Config, CotConfig } from "./config_schema.ts";
export type { Setting } from "./config_override.ts";

/** What a command line names. */
export interface ConfigRequest {
  /** A file of configs/models, without .yaml. */
  readonly model: string;
  /** A file of configs/datasets. @default {"arith"} */
  readonly dataset?: string;
  /** A file of configs/trainer. @default {"default"} */
  readonly trainer?: string;
  /** Arguments such as `batch_size=8`; a later one wins. @default {[]} */
  readonly overrides?: readonly string[];
  /** The folder that holds models, datasets and trainer. @default {the project's configs} */
  readonly folder?: string;
}

/** A configuration and what the arguments did to it. */
export interface Resolved {
  readonly config: Config;
  /** For each argument the paths of the keys that it set. */
  readonly set: readonly Setting[];
}

const FOLDER = fileURLToPath(new URL("../configs", import.meta.url));
const LAYERS = ["trainer", "models", "datasets"] as const;

/**
 * Merges and checks the configuration of a run.
 * @throws {RangeError} for an unknown name, key or value out of range, {TypeError} for a value of another type or a key
 * that no file sets, {SyntaxError} for text that is no YAML or an argument without `=`.
 */
export async function resolveConfig(request: ConfigRequest): Promise<Resolved> {
  const { model, dataset = "arith", trainer = "default", overrides = [] } = request;
  const { folder = FOLDER } = request;
  const [trainerTree, modelTree, datasetTree] = [
    await readLayer(folder, "trainer", trainer),
    await readLayer(folder, "models", model),
    await readLayer(folder, "datasets", dataset),
  ];
  const keys = keysOfModel(modelTree, `configs/models/${model}.yaml`);
  const values: Values = new Map();
  merge(values, keys, trainerTree, `configs/trainer/${trainer}.yaml`);
  merge(values, keys, modelTree, `configs/models/${model}.yaml`);
  const { models = {}, ...everyModel } = datasetTree;
  const origin = `configs/datasets/${dataset}.yaml`;
  merge(values, keys, everyModel, origin);
  merge(values, keys, await ofModel(models, model, folder, origin), `${origin}: models.${model}`);
  return finish(values, keys, overrides, scaleEpochs);
}

/**
 * Checks a saved configuration, a run's or a checkpoint's, and applies further arguments to it.
 * @param saved a configuration as JSON keeps it, or what `printConfig` wrote
 * @param origin the file, as messages name it
 * @throws as `resolveConfig` does.
 */
export function restoreConfig(
  saved: unknown,
  overrides: readonly string[] = [],
  origin = "config.yaml",
): Resolved {
  const tree = typeof saved === "string" ? parseYaml(saved, origin) : saved;
  const keys = keysOfModel(tree, origin);
  const values: Values = new Map();
  merge(values, keys, tree, origin);
  return finish(values, keys, overrides);
}

/** The configuration as YAML, in the order of the schema; `restoreConfig` reads it back. */
export function printConfig(config: Config): string {
  const keys = keysOf(SCHEMAS[config.model.target]);
  const values = flatten(config, keys, "config").map(([path, value]) =>
    [path, checkedSetting(path, keys.get(path)!, value)] as const
  );
  return formatYaml(new Map(values), keys);
}

/** The names in one of the folders trainer, models and datasets, sorted. */
export async function configNames(
  layer: typeof LAYERS[number],
  folder = FOLDER,
): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(folder, layer))) {
    if (!isDirectory && name.endsWith(".yaml")) names.push(name.slice(0, -".yaml".length));
  }
  return names.sort();
}

async function readLayer(
  folder: string,
  layer: typeof LAYERS[number],
  name: string,
): Promise<Record<string, unknown>> {
  const names = await configNames(layer, folder);
  if (!names.includes(name)) {
    const kind = layer.replace(/s$/, "");
    throw new RangeError(`Unknown ${kind} '${name}'. configs/${layer}/ has: ${names.join(", ")}`);
  }
  const origin = `configs/${layer}/${name}.yaml`;
  const tree = parseYaml(await Deno.readTextFile(join(folder, layer, `${name}.yaml`)), origin);
  if (isMapping(tree)) return tree;
  throw new TypeError(`${origin} must have keys and values, got ${shown(tree)}`);
}

/** The keys of the model that `model.target` of a tree names. */
function keysOfModel(tree: unknown, origin: string): Keys {
  const model = isMapping(tree) ? tree.model : undefined;
  const target = isMapping(model) ? model.target : undefined;
  const found = Object.entries(SCHEMAS).find(([name]) => name === target);
  if (found) return keysOf(found[1]);
  const known = Object.keys(SCHEMAS).sort().join(" or ");
  throw new RangeError(`${origin}: model.target must be ${known}, got ${shown(target)}`);
}

/** The part of a dataset's settings that one model takes; each name must be a model's. */
async function ofModel(
  models: unknown,
  model: string,
  folder: string,
  origin: string,
): Promise<unknown> {
  if (!isMapping(models)) {
    throw new TypeError(`${origin}: models must have a model's name and its keys below`);
  }
  const names = await configNames("models", folder);
  const unknown = Object.keys(models).find((name) => !names.includes(name));
  if (unknown === undefined) return models[model] ?? {};
  throw new RangeError(
    `${origin}: Unknown model '${unknown}'. configs/models/ has: ${names.join(", ")}`,
  );
}

function merge(values: Values, keys: Keys, tree: unknown, origin: string): void {
  for (const [path, value] of flatten(tree, keys, origin)) {
    values.set(path, checkedSetting(`${origin}: ${path}`, keys.get(path)!, value));
  }
}

/** Arguments, presets and the checks that need more than one key. */
function finish(
  values: Values,
  keys: Keys,
  overrides: readonly string[],
  adjust: (values: Values) => void = () => {},
): Resolved {
  const set = overrides.map((argument) => applyArgument(values, keys, argument));
  const missing = [...keys.keys()].find((path) => !values.has(path));
  if (missing) throw new TypeError(`No file of the configuration sets '${missing}'`);
  const preset = values.get("profile") as Profile;
  for (const [path, kind] of keys) values.set(path, switchValue(kind, values.get(path)!, preset));
  adjust(values);
  // Every value was checked by its key's kind, and every key is there: the tree is what the schema's type says.
  const config = nest(values, keys) as unknown as Config;
  return { config, set };
}

function scaleEpochs(values: Values): void {
  const passes = values.get("trainer.max_epochs") as number;
  const scaling = values.get("data_module.epoch_scaling") as number;
  // Less a little, since 3 / 0.3 is more than 10.
  values.set("trainer.max_epochs", Math.max(1, Math.ceil(passes / scaling - 1e-9)));
}
