/**
 * LoRA adapters as PEFT keeps them: a folder with adapter_config.json and adapter_model.safetensors.
 *
 * Read: rank, alpha, targets, patterns of both, rsLoRA, dropout. What would change the numbers and is not computed here (DoRA,
 * trained biases, further modules, ...) is refused by its key: a key of the file that is neither known nor empty is one
 * of those. Written: the keys, names, shapes and bytes of PEFT 0.13.
 *
 * Source: https://github.com/huggingface/peft (tuners/lora/config.py, utils/save_and_load.py), version 0.13.2.
 */
import { join } from "node:path";
import type { LoraConfig } from "../llm/lora.ts";
import { sizeOfUpdate } from "../llm/lora.ts";
import { exists, writeAtomic } from "./atomic.ts";
import type { CheckpointTensor } from "./checkpoint.ts";
import { fileSource, openSafetensors } from "./safetensors.ts";
import { malformed, parseObject, quote } from "./safetensors_header.ts";
import { saveTensors } from "./save_model.ts";

/** An adapter as read. */
export interface PeftAdapter {
  /** Targets are named: module names where the file has a pattern. */
  readonly config: LoraConfig & { readonly target_modules: readonly string[] | "all-linear" };
  /** By PEFT's names, `base_model.model.<module>.lora_A.weight`, as float32. */
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  /** The model that it was trained on, by the name that it had there; undefined where the file does not say. */
  readonly baseModel?: string;
}

/** What an adapter that is written says of its base model. */
export interface BaseModel {
  /** A folder, or `owner/name` of the Hub, as Python's tools take it: without a revision. */
  readonly model_id: string;
  /** The commit of a model of the Hub. */
  readonly commit?: string;
  readonly model_type: "llama" | "qwen2" | "gpt2";
}

const CONFIG = "adapter_config.json";
const TENSORS = "adapter_model.safetensors";
const NAME = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/;

/** Keys that are read, and those that say nothing about the numbers of a finished adapter. */
const READ = [
  ...["r", "lora_alpha", "target_modules", "use_rslora", "rank_pattern", "alpha_pattern"],
  "lora_dropout",
];
const SILENT = "peft_type auto_mapping base_model_name_or_path revision task_type inference_mode " +
  "peft_version fan_in_fan_out megatron_core init_lora_weights layers_pattern " +
  "ensure_weight_tying eva_config corda_config qalora_group_size"; // of use_qalora, which is refused

/** Initial values that leave the base model as it is: with others the adapter belongs to changed weights. */
const PLAIN_STARTS = [true, false, null, undefined, "gaussian", "orthogonal", "eva"];

const CLASSES = {
  llama: ["LlamaForCausalLM", "llama.modeling_llama"],
  qwen2: ["Qwen2ForCausalLM", "qwen2.modeling_qwen2"],
  gpt2: ["GPT2LMHeadModel", "gpt2.modeling_gpt2"],
} as const;

/**
 * Reads an adapter's folder.
 * @throws {SyntaxError} for a broken file, {RangeError} for a folder that holds none or one that is not supported.
 */
export async function readAdapter(folder: string): Promise<PeftAdapter> {
  for (const name of [CONFIG, TENSORS]) {
    if (await exists(join(folder, name))) continue;
    const hint = await exists(join(folder, "adapter_model.bin"))
      ? "; it has adapter_model.bin: save it with safe_serialization=True"
      : "; an adapter's folder is what PEFT's save_pretrained writes";
    throw new RangeError(`${quote(folder)} has no ${name}${hint}`);
  }
  const file = join(folder, CONFIG);
  const json = parseObject(await Deno.readTextFile(file), file);
  checkSupported(json, file);
  const tensors = await readTensors(join(folder, TENSORS));
  const config = configOf(json, file, modulesOf(tensors));
  checkRanks(tensors, config, join(folder, TENSORS));
  const { base_model_name_or_path: named } = json;
  const baseModel = typeof named === "string" && named !== "" ? named : undefined;
  return { config, tensors, baseModel };
}

/**
 * Writes an adapter's files into a folder.
 * @param tensors by PEFT's names
 */
export async function writeAdapter(
  folder: string,
  config: LoraConfig,
  base: BaseModel,
  tensors: ReadonlyMap<string, CheckpointTensor>,
): Promise<void> {
  await saveTensors(join(folder, TENSORS), tensors);
  const json = adapterConfig(config, base, modulesOf(tensors));
  await writeAtomic(join(folder, CONFIG), `${JSON.stringify(json, null, 2)}\n`);
}

/** PEFT's name of a checkpoint's tensor; undefined for one that is no adapter's. */
export function peftName(name: string): string | undefined {
  const plain = name.replace(/^llm\./, "").replace(/\.default\.weight$/, ".weight");
  return plain !== name && NAME.test(plain) ? plain : undefined;
}

/** A checkpoint's name of PEFT's tensor. */
export function checkpointName(name: string): string {
  return `llm.${name.replace(/\.weight$/, ".default.weight")}`;
}

/** All keys of adapter_config.json, in the order of their names. */
function adapterConfig(config: LoraConfig, base: BaseModel, modules: readonly string[]) {
  const { r, lora_alpha, target_modules } = config;
  const { use_rslora = false, rank_pattern = {}, alpha_pattern = {}, lora_dropout = 0 } = config;
  const [base_model_class, file] = CLASSES[base.model_type];
  const ends = modules.map((module) => module.slice(module.lastIndexOf(".") + 1));
  const isList = typeof target_modules === "object";
  return {
    alpha_pattern,
    auto_mapping: { base_model_class, parent_library: `transformers.models.${file}` },
    base_model_name_or_path: base.model_id,
    bias: "none",
    fan_in_fan_out: base.model_type === "gpt2", // its matrices are Conv1D's, [in, out]
    inference_mode: true,
    init_lora_weights: true,
    layer_replication: null,
    layers_pattern: null,
    layers_to_transform: null,
    loftq_config: {},
    lora_alpha,
    lora_dropout,
    megatron_config: null,
    megatron_core: "megatron.core",
    modules_to_save: null,
    peft_type: "LORA",
    r,
    rank_pattern,
    revision: base.commit ?? null,
    target_modules: isList ? target_modules : [...new Set(ends)].sort(),
    task_type: null,
    use_dora: false,
    use_rslora,
  };
}

function checkSupported(json: Readonly<Record<string, unknown>>, file: string): void {
  const { peft_type, init_lora_weights, bias } = json;
  const refuse = (key: string, rule: string) => {
    throw new RangeError(`${file}: ${key} is ${shown(json[key])}; ${rule}`);
  };
  if (peft_type !== "LORA") refuse("peft_type", "only LORA is supported; merge it with PEFT first");
  if (json.use_dora === true) refuse("use_dora", "DoRA is not supported; merge it with PEFT first");
  if (bias !== undefined && bias !== "none") refuse("bias", "only none is supported");
  if (!PLAIN_STARTS.some((start) => start === init_lora_weights)) {
    refuse(
      "init_lora_weights",
      "it changes the base model; convert it with path_initial_model_for_weight_conversion",
    );
  }
  const known = new Set([...READ, ...SILENT.split(" "), "bias", "use_dora"]);
  for (const [key, value] of Object.entries(json)) {
    if (!known.has(key) && !isEmpty(value)) refuse(key, "it is not supported; merge it with PEFT");
  }
}

function configOf(
  json: Readonly<Record<string, unknown>>,
  file: string,
  modules: readonly string[],
): PeftAdapter["config"] {
  const { r, lora_alpha, target_modules, use_rslora, rank_pattern, alpha_pattern } = json;
  const { lora_dropout = 0 } = json;
  if (!(typeof lora_dropout === "number" && lora_dropout >= 0 && lora_dropout < 1)) {
    const rule = "it must be a number at least 0 and below 1";
    throw malformed(file, `lora_dropout is ${shown(lora_dropout)}; ${rule}`);
  }
  const number = (key: string, value: unknown) => {
    if (typeof value === "number" && value > 0) return value;
    throw malformed(file, `${key} is ${shown(value)}; it must be a number above 0`);
  };
  const numbers = (key: string, value: unknown) => {
    const pairs = typeof value === "object" && value !== null ? Object.entries(value) : [];
    return Object.fromEntries(pairs.map(([name, n]) => [name, number(`${key} ${name}`, n)]));
  };
  const isList = Array.isArray(target_modules) &&
    target_modules.every((t) => typeof t === "string");
  if (!isList && typeof target_modules !== "string") {
    throw malformed(file, `target_modules is ${shown(target_modules)}; it must be names`);
  }
  const isKept = isList || target_modules === "all-linear";
  return {
    r: number("r", r),
    lora_alpha: number("lora_alpha", lora_alpha),
    // PEFT saves a set, whose order is chance; a pattern is Python's, and the tensors say what it matched.
    target_modules: isKept
      ? isList ? [...target_modules].sort() : "all-linear"
      : [...new Set(modules)],
    use_rslora: use_rslora === true,
    rank_pattern: numbers("rank_pattern", rank_pattern),
    alpha_pattern: numbers("alpha_pattern", alpha_pattern),
    lora_dropout,
  };
}

/**
 * Compares the shapes of an adapter's tensors with its configuration.
 * @param tensors by PEFT's names
 * @param file as messages name it
 * @throws {SyntaxError} for a module without a pair, or of another rank.
 */
export function checkRanks(
  tensors: ReadonlyMap<string, CheckpointTensor>,
  config: LoraConfig,
  file: string,
): void {
  for (const module of new Set(modulesOf(tensors))) {
    const { r } = sizeOfUpdate(module, config);
    const [a, b] = ["A", "B"].map((side) =>
      tensors.get(`base_model.model.${module}.lora_${side}.weight`)
    );
    if (a?.shape.length === 2 && b?.shape.length === 2 && a.shape[0] === r && b.shape[1] === r) {
      continue;
    }
    const found = [a, b].map((side) => side ? `[${side.shape.join(", ")}]` : "nothing");
    throw malformed(file, `${module}: lora_A and lora_B are ${found.join(" and ")}; rank is ${r}`);
  }
}

function modulesOf(tensors: ReadonlyMap<string, unknown>): string[] {
  return [...tensors.keys()].map((name) => NAME.exec(name)?.[1] ?? name);
}

async function readTensors(path: string): Promise<Map<string, CheckpointTensor>> {
  using source = await fileSource(path);
  const file = await openSafetensors(source);
  const tensors = new Map<string, CheckpointTensor>();
  for (const { name, shape } of file.tensors.values()) {
    if (!NAME.test(name)) {
      const rule = "only lora_A and lora_B of linear modules are supported; merge it with PEFT";
      throw new RangeError(`${path}: tensor ${quote(name)}; ${rule}`);
    }
    tensors.set(name, { shape, data: await file.readFloat32(name) });
  }
  if (tensors.size > 0) return tensors;
  throw malformed(path, "holds no tensors; name an adapter that was trained");
}

function isEmpty(value: unknown): boolean {
  return value === null || value === undefined || value === false ||
    typeof value === "object" && Object.keys(value).length === 0;
}

function shown(value: unknown): string {
  return String(JSON.stringify(value)).slice(0, 60);
}
