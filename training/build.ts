/**
 * From a configuration to what runs: tokenizer, backbone and the method that `model.target` names.
 *
 * A new method is one file whose default export is a `CreateMethod`, and a YAML file that names it: docs/adding_a_model.md.
 */
import { fileURLToPath } from "node:url";
import { isAbsolute, join } from "node:path";
import type { Gpu } from "../gpu/device.ts";
import { exists } from "../io/atomic.ts";
import { type Config, restoreConfig } from "../io/config.ts";
import { importModel } from "../io/config_model.ts";
import { type Choice, type HubOptions, hubSnapshot, modelFiles } from "../io/hub.ts";
import { type HubRepo, parseHubId } from "../io/hub_cache.ts";
import { loadModel, parseModelJson } from "../io/load_model.ts";
import { loadTokenizer } from "../io/tokenizer.ts";
import type { Backbone } from "../llm/backbone.ts";
import { parseModelConfig } from "../llm/config.ts";
import type { CreateMethod, Method } from "../models/method.ts";
import { addPadRow } from "../models/vocabulary.ts";

const GATED = "(of the Hub, gated: docs/hub.md)";

/** What the published code calls a folder below models/llms, as the Hub calls it. */
const HUB_IDS: Readonly<Record<string, string>> = {
  "Llama-3.2-1B-Instruct": `meta-llama/Llama-3.2-1B-Instruct ${GATED}`,
  "Llama-3.2-3B-Instruct": `meta-llama/Llama-3.2-3B-Instruct ${GATED}`,
  "Llama-3.1-8B-Instruct": `meta-llama/Llama-3.1-8B-Instruct ${GATED}`,
  "DeepSeek-R1-Distill-Qwen-1.5B": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B (of the Hub)",
};

const ROOT = fileURLToPath(new URL("..", import.meta.url));

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
  const tokenizer = await loadTokenizer(folder, model_kwargs.separator_tokens);
  const create = options.create ?? await loadMethod(target);
  using memory = new DisposableStack();
  const backbone = await loadModel(gpu, folder, model_kwargs.do_lora ? "stored" : "f32");
  memory.use(backbone.weights);
  backbone.checkpointsBlocks = config.trainer.activation_checkpointing;
  await addPadRow(backbone, tokenizer, seed, model_kwargs.pad_row);
  const { reasoning_length: reasoningLength } = config.evaluation;
  const context = { gpu, backbone, tokenizer, options: model_kwargs, reasoningLength, seed };
  const method = memory.use(await create(context));
  checkParameters(method, backbone);
  const kept = memory.move();
  return { method, [Symbol.dispose]: () => kept.dispose() };
}

/** Where a model lies. */
export interface LocatedModel {
  readonly folder: string;
  /** Which model of the Hub it is; undefined for a folder of the user's. */
  readonly origin?: { readonly name: string; readonly commit: string };
}

/**
 * Finds a model, or fetches it from the Hub.
 * @param id a folder, from here or from the project's root, a name below models/llms of the workspace, else an id of the
 * Hub, `owner/name` or `owner/name@revision`
 * @throws {RangeError} when there is none, saying where it was looked for; as `hubSnapshot` does.
 */
export async function locateModel(
  id: string,
  workspace: string,
  hub: HubOptions = {},
): Promise<LocatedModel> {
  const named = join(workspace, "models", "llms", id);
  const found = await findFolder(id, named);
  if (found) return { folder: found };
  const repo = parseHubId(id, "model");
  if (repo) {
    const { folder, ...origin } = await hubSnapshot(repo, runnableFiles(repo), hub);
    return { folder, origin };
  }
  const known = Object.hasOwn(HUB_IDS, id) ? HUB_IDS[id] : "OWNER/NAME (of the Hub: docs/hub.md)";
  throw new RangeError(
    `model_id: no folder '${id}', nor ${named}, and no id of the Hub, which is owner/name; ` +
      `set model_id=${known}, or model_id=FOLDER in Hub layout (config.json, tokenizer.json, model.safetensors)`,
  );
}

/** A model's files, once its configuration says that it can be run: else its weights are not fetched. */
function runnableFiles({ name, revision }: HubRepo): Choice {
  const file = `model ${name}@${revision}: config.json`;
  return async (paths, read, subject) => {
    const files = await modelFiles(paths, read, subject);
    parseModelConfig(parseModelJson(await read("config.json"), file), file);
    return files;
  };
}

/** The folder of a model, which is found or fetched as {@link locateModel} does. */
export async function findModel(id: string, workspace: string, hub?: HubOptions): Promise<string> {
  return (await locateModel(id, workspace, hub)).folder;
}

/**
 * Fetches the model of a run where it is one of the Hub, and writes its commit into the configuration: whoever goes on
 * with the run or tests its checkpoints gets the same weights.
 * @returns the configuration, and what environment.json is to say of the model
 */
export async function pinModel(
  config: Config,
  workspace: string,
  hub: HubOptions = {},
): Promise<{ readonly config: Config; readonly origin: LocatedModel["origin"] }> {
  const { origin } = await locateModel(config.model.model_kwargs.model_id, workspace, hub);
  if (!origin) return { config, origin };
  const pinned = `model.model_kwargs.model_id=${origin.name}@${origin.commit}`;
  return { config: (await restoreConfig(config, [pinned])).config, origin };
}

/**
 * A folder or file by its path, from here or from the project's root, else by its place in the workspace.
 * @returns undefined when it is at none of them
 */
export async function findFolder(name: string, named: string): Promise<string | undefined> {
  const places = isAbsolute(name) ? [name] : [name, join(ROOT, name), named];
  for (const place of places) if (await exists(place)) return place;
  return undefined;
}

async function loadMethod(target: string): Promise<CreateMethod<unknown>> {
  const { default: create } = await importModel(target);
  if (typeof create === "function") return create as CreateMethod<unknown>;
  throw new TypeError(`${target} has no default export that makes a method; see models/method.ts`);
}

function checkParameters({ parameters, speeds }: Method, { config }: Backbone): void {
  if (parameters.length > 0 && speeds.length > 0) return;
  const what = parameters.length === 0 ? "trains no tensor" : "answers at no speed";
  throw new RangeError(`the method on ${config.model_type} ${what}; check target_modules`);
}
