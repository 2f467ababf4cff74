/**
 * A run's configuration: trainer <- model <- dataset YAML <- `key=value` arguments, each over what stands before it.
 *
 * Each is a file of configs/, or of the user's own. The model's YAML names the class to build (`target:
 * models/colar.ts`), which decides what keys there are (config_model.ts). A dataset's YAML may hold settings for one
 * model only, under `models`. Last, switches that follow `profile` take its preset, and `max_epochs`, which counts
 * passes over the training rows, is divided by `epoch_scaling`, the passes of one epoch.
 * As in the published harness (xiaomi-research/colar, run.py); config_override.ts says where arguments differ.
 */
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { exists } from "./atomic.ts";
import { shown } from "./config_kinds.ts";
import { isBuiltIn, keysOfModel, targetOf, withTarget } from "./config_model.ts";
import { applyArgument, checkedSetting, type Setting } from "./config_override.ts";
import { type Profile, switchValue } from "./config_profile.ts";
import type { Config } from "./config_schema.ts";
import {
  flatten,
  formatYaml,
  isMapping,
  type Keys,
  nest,
  parseYaml,
  type Values,
} from "./config_tree.ts";

export type { ColarConfig, Config, CotConfig } from "./config_schema.ts";
export type { Setting } from "./config_override.ts";

/** What a command line names: files of configs/, without .yaml, or paths of one's own, with it. */
export interface ConfigRequest {
  /** Of configs/models. */
  readonly model: string;
  /** Of configs/datasets. @default {"arith"} */
  readonly dataset?: string;
  /** Of configs/trainer. @default {"default"} */
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
const YAML = ".yaml";

/** Whether a name is a path of the user's own rather than of a file of configs/. */
const isPath = (name: string) => name.endsWith(YAML);

/**
 * Merges and checks the configuration of a run.
 * @throws {RangeError} for an unknown name, key or value out of range, {TypeError} for a value of another type or a key
 * that no file sets, {SyntaxError} for text that is no YAML or an argument without `=`.
 */
export async function resolveConfig(request: ConfigRequest): Promise<Resolved> {
  const { model, dataset = "arith", trainer = "default", overrides = [] } = request;
  const { folder = FOLDER } = request;
  const trainerLayer = await readLayer(folder, "trainer", trainer);
  const modelLayer = await readLayer(folder, "models", model);
  const { tree: { models = {}, ...everyModel }, origin } = await readLayer(
    folder,
    "datasets",
    dataset,
  );
  const keys = await keysOfModel(modelLayer.tree, modelLayer.origin);
  const values: Values = new Map();
  if (!isBuiltIn(targetOf(modelLayer.tree))) await mergeCot(values, keys, folder);
  for (const layer of [trainerLayer, modelLayer]) merge(values, keys, layer.tree, layer.origin);
  merge(values, keys, everyModel, origin);
  const name = isPath(model) ? basename(model, YAML) : model;
  merge(values, keys, await ofModel(models, name, folder, origin), `${origin}: models.${name}`);
  return finish(values, keys, overrides, scaleEpochs);
}

/**
 * Checks a saved configuration, a run's or a checkpoint's, and applies further arguments to it.
 * @param saved a configuration as JSON keeps it, or what `printConfig` wrote
 * @param overrides for a method of one's own also `model.target=FILE`, where its file is not where it was
 * @param origin the checkpoint's folder or the file, as messages name it
 * @throws as `resolveConfig` does, and {RangeError} for a method's file that is not here or came with the checkpoint.
 */
export async function restoreConfig(
  saved: unknown,
  overrides: readonly string[] = [],
  origin = "config.yaml",
): Promise<Resolved> {
  const given = typeof saved === "string" ? parseYaml(saved, origin) : saved;
  const tree = await withTarget(given, overrides, origin);
  const keys = await keysOfModel(tree, origin);
  const values: Values = new Map();
  merge(values, keys, tree, origin);
  for (const [path, { before }] of keys) {
    if (before !== undefined && !values.has(path)) values.set(path, before);
  }
  return finish(values, keys, overrides);
}

/**
 * The configuration as YAML, in the order of the schema; `restoreConfig` reads it back.
 * @param target the method's file, where the configuration does not say where it is. @default {its `model.target`}
 */
export async function printConfig(
  config: Config,
  target: string = config.model.target,
): Promise<string> {
  const keys = await keysOfModel({ model: { target } }, "config");
  const values = flatten(config, keys, "config").map(([path, value]) =>
    [
      path,
      path === "model.target" ? config.model.target : checkedSetting(path, keys.get(path)!, value),
    ] as const
  );
  return formatYaml(new Map(values), keys);
}

/**
 * The arguments that give a saved configuration another data set: its keys of `data_module`, where its file is silent
 * those of trainer/default.
 * @param dataset a file of configs/datasets, or a path
 * @throws as `resolveConfig` does.
 */
export async function dataArguments(dataset: string, folder = FOLDER): Promise<string[]> {
  const layers = [
    await readLayer(folder, "trainer", "default"),
    await readLayer(folder, "datasets", dataset),
  ];
  const values = Object.assign(
    {},
    ...layers.map(({ tree }) => isMapping(tree.data_module) ? tree.data_module : {}),
  );
  return Object.entries(values).map(([key, value]) =>
    `data_module.${key}=${JSON.stringify(value)}`
  );
}

/** The names in one of the folders trainer, models and datasets, sorted. */
export async function configNames(
  layer: typeof LAYERS[number],
  folder = FOLDER,
): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(folder, layer))) {
    if (!isDirectory && name.endsWith(YAML)) names.push(name.slice(0, -YAML.length));
  }
  return names.sort();
}

/** A file of the configuration. */
interface Layer {
  readonly tree: Record<string, unknown>;
  /** As messages name it. */
  readonly origin: string;
}

async function readLayer(
  folder: string,
  layer: typeof LAYERS[number],
  name: string,
): Promise<Layer> {
  const { path, origin } = await findLayer(folder, layer, name);
  const tree = parseYaml(await Deno.readTextFile(path), origin);
  if (!isMapping(tree)) {
    throw new TypeError(`${origin} must have keys and values, got ${shown(tree)}`);
  }
  return { tree: isPath(name) ? fromItsFolder(tree, path) : tree, origin };
}

async function findLayer(folder: string, layer: typeof LAYERS[number], name: string) {
  const kind = layer.replace(/s$/, "");
  if (isPath(name)) {
    if (await exists(name)) return { path: name, origin: name };
    throw new RangeError(
      `No file '${name}'; --${kind} takes a name of configs/${layer}/, or a path of your own`,
    );
  }
  const names = await configNames(layer, folder);
  if (!names.includes(name)) {
    throw new RangeError(`Unknown ${kind} '${name}'. configs/${layer}/ has: ${names.join(", ")}`);
  }
  const path = join(folder, layer, name + YAML);
  return { path, origin: `configs/${layer}/${name}.yaml` };
}

/** A tree whose `target: ./own.ts` names the file beside the YAML that says so. */
function fromItsFolder(tree: Record<string, unknown>, path: string): Record<string, unknown> {
  const { model } = tree;
  if (!isMapping(model) || typeof model.target !== "string") return tree;
  if (!/^\.\.?\//.test(model.target)) return tree;
  return { ...tree, model: { ...model, target: join(dirname(path), model.target) } };
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
  const unknown = Object.keys(models).find((name) => name !== model && !names.includes(name));
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

/** What a method of one's own does not say about the keys of every method is as in CoT's file. */
async function mergeCot(values: Values, keys: Keys, folder: string): Promise<void> {
  const { tree, origin } = await readLayer(folder, "models", "cot");
  const cot: Values = new Map();
  merge(cot, await keysOfModel(tree, origin), tree, origin);
  for (const [path, value] of cot) {
    if (keys.has(path) && path !== "model.target") values.set(path, value);
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
