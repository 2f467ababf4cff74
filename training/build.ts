/**
 * From a configuration to what runs: data, tokenizer, backbone and the method that `model.target` names.
 *
 * A new method is one file in models/ whose default export is a `CreateMethod`, its keys in io/config_schema.ts, and a
 * YAML file in configs/models.
 */
import { fileURLToPath } from "node:url";
import { isAbsolute, join } from "node:path";
import { ARITH_VARIANTS, arithDataset, type ArithVariant } from "../data/arith.ts";
import { loadQsa, type QsaDataset, tinyDataset } from "../data/qsa.ts";
import type { Gpu } from "../gpu/device.ts";
import { exists } from "../io/atomic.ts";
import type { Config } from "../io/config.ts";
import { loadModel } from "../io/load_model.ts";
import { loadTokenizer } from "../io/tokenizer.ts";
import type { Backbone } from "../llm/backbone.ts";
import type { CreateMethod, Method } from "../models/method.ts";
import { addPadRow } from "../models/vocabulary.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const GENERATED = { train: 32000, val: 200, test: 300 }; // rows, where a configuration says nothing

/** A method with the memory that it was built in. */
export interface Built extends Disposable {
  readonly method: Method;
}

/** What a method is built from. */
export interface BuildOptions {
  readonly gpu: Gpu;
  readonly config: Config;
  /** The folder below which models/llms lies. */
  readonly workspace: string;
  /** Keys the initial values. @default {config.seed} */
  readonly seed?: number;
  /** What makes the method. @default {the default export of `model.target`} */
  readonly create?: CreateMethod<unknown>;
}

/**
 * Loads backbone and tokenizer and builds the method on them.
 * @throws {RangeError} or {TypeError} for a missing or unfit model folder, by name.
 */
export async function buildMethod(options: BuildOptions): Promise<Built> {
  const { gpu, config, workspace, seed = config.seed } = options;
  const { target, model_kwargs } = config.model;
  const folder = await findModel(model_kwargs.model_id, workspace);
  const tokenizer = await loadTokenizer(folder);
  const create = options.create ?? await loadMethod(target);
  using memory = new DisposableStack();
  const backbone = await loadModel(gpu, folder, model_kwargs.do_lora ? "stored" : "f32");
  memory.use(backbone.weights);
  backbone.checkpointsBlocks = config.trainer.activation_checkpointing;
  await addPadRow(backbone, tokenizer, seed);
  const { reasoning_length: reasoningLength } = config.evaluation;
  const context = { gpu, backbone, tokenizer, options: model_kwargs, reasoningLength, seed };
  const method = memory.use(await create(context));
  checkParameters(method, backbone);
  const kept = memory.move();
  return { method, [Symbol.dispose]: () => kept.dispose() };
}

/**
 * Loads or generates the three splits.
 * @throws {TypeError} or {RangeError} for a missing folder or a broken row, by name.
 */
export async function loadData(
  { data_module }: Config,
  workspace: string,
): Promise<QsaDataset> {
  const { dataset_name: name, n_train, n_val, n_test, tiny_dataset } = data_module;
  const variant = arithVariant(name);
  const counts = {
    train: n_train ?? GENERATED.train,
    val: n_val ?? GENERATED.val,
    test: n_test ?? GENERATED.test,
  };
  const dataset = variant
    ? arithDataset(counts, variant)
    : await loadQsa(await findFolder(name, join(workspace, "datasets", name)) ?? name);
  return tiny_dataset ? tinyDataset(dataset) : dataset;
}

/**
 * The folder of a model.
 * @param id a folder, from here or from the project's root, or a name below models/llms of the workspace
 * @throws {RangeError} when there is none, saying where it was looked for.
 */
export async function findModel(id: string, workspace: string): Promise<string> {
  const named = join(workspace, "models", "llms", id);
  const found = await findFolder(id, named);
  if (found) return found;
  throw new RangeError(
    `model_id: no folder '${id}', nor ${named}; download the model there in Hub layout ` +
      "(config.json, tokenizer.json, model.safetensors), or set model_id=FOLDER",
  );
}

/** `arith`, or `arith_hard`, `arith_reworded`, `arith_short`: the data sets that are generated. */
function arithVariant(name: string): ArithVariant | undefined {
  const variants = Object.keys(ARITH_VARIANTS) as ArithVariant[];
  return variants.find((v) => name === (v === "arith" ? v : `arith_${v}`));
}

async function findFolder(name: string, named: string): Promise<string | undefined> {
  const places = isAbsolute(name) ? [name] : [name, join(ROOT, name), named];
  for (const place of places) if (await exists(place)) return place;
  return undefined;
}

async function loadMethod(target: string): Promise<CreateMethod<unknown>> {
  const module = await import(new URL(`../${target}`, import.meta.url).href);
  if (typeof module.default === "function") return module.default;
  throw new TypeError(`${target} has no default export that makes a method; see models/method.ts`);
}

function checkParameters({ parameters, speeds }: Method, { config }: Backbone): void {
  if (parameters.length > 0 && speeds.length > 0) return;
  const what = parameters.length === 0 ? "trains no tensor" : "answers at no speed";
  throw new RangeError(`the method on ${config.model_type} ${what}; check target_modules`);
}
