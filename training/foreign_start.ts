/**
 * Beginning a run from what is no checkpoint of ours: a PyTorch file of the published code, or an adapter of PEFT.
 *
 * Both become a checkpoint under our names, so that the rest of a run knows no difference; what each tensor became is
 * told in full, and what such files do not say (the row of [PAD]) is warned of.
 */
import { basename } from "node:path";
import { loadCheckpoint } from "../io/checkpoint.ts";
import { type Config, type ConfigRequest, resolveConfig, type Resolved } from "../io/config.ts";
import { checkpointName, readAdapter } from "../io/peft.ts";
import { isFile, loadPublishedCheckpoint } from "../io/published_checkpoint.ts";
import type { Method } from "../models/method.ts";
import { describe, type NamedCheckpoint, type Unshared } from "./tensors.ts";

type LoraKeys = Partial<Config["model"]["model_kwargs"]["lora_config"]>;

/** Loads a checkpoint of ours, or a PyTorch file. */
export async function loadStart(path: string): Promise<NamedCheckpoint> {
  if (!await isFile(path)) {
    return { path, checkpoint: await loadCheckpoint(path, { optimizer: false }) };
  }
  const { checkpoint, notRead } = await loadPublishedCheckpoint(path);
  return { path, checkpoint, origin: "torch", notRead };
}

/**
 * Loads a PyTorch file to test or export it; the files of configs/ say what its tensors are of.
 * @throws {RangeError} when no model is named, or the file is of another backbone or scale.
 */
export async function configureForeignTest(
  path: string,
  { model, ...request }: Partial<ConfigRequest>,
): Promise<NamedCheckpoint & Resolved> {
  if (model === undefined) {
    throw new RangeError(
      `'${path}' is a file of PyTorch, which does not say how it was trained: ` +
        "add --model=colar and --dataset=gsm8k_aug",
    );
  }
  const start = await loadStart(path);
  const resolved = await resolveConfig({ model, ...request });
  checkBackbone(start, resolved.config);
  checkScale(start, resolved.config);
  return { ...start, ...resolved };
}

/**
 * Loads an adapter of PEFT as a checkpoint.
 * @param config the run's, whose model it is put on: another base model is warned of, since the same model can have
 * another name elsewhere
 */
export async function loadAdapterStart(path: string, config: Config): Promise<NamedCheckpoint> {
  const { config: lora_config, tensors, baseModel } = await readAdapter(path);
  const named = new Map([...tensors].map(([name, tensor]) => [checkpointName(name), tensor]));
  const model_kwargs = { model_id: baseModel ?? "its base model", do_lora: true, lora_config };
  const model = { target: "an adapter of PEFT", model_kwargs };
  const { model_id } = config.model.model_kwargs;
  const isOther = baseModel !== undefined && nameOfModel(baseModel) !== nameOfModel(model_id);
  const warning =
    `Warning: '${path}' was trained on '${baseModel}', this run's model_id is '${model_id}': ` +
    "if these are not the same weights, set model_id to those that it was trained on";
  return {
    path,
    checkpoint: { tensors: named, state: { epoch: 0, step: 0 }, config: { model } },
    origin: "peft",
    warnings: isOther ? [warning] : [],
  };
}

/** The arguments that give a run's adapter the sizes of one of PEFT. */
export async function adapterSettings(path: string): Promise<string[]> {
  const { config } = await readAdapter(path);
  const place = "model.model_kwargs";
  const sizes = Object.entries(config).map(([key, value]) =>
    `${place}.lora_config.${key}=${JSON.stringify(value)}`
  );
  return [`${place}.do_lora=true`, ...sizes];
}

/** The last part of a folder or id: another commit, or another place, is no other model. */
function nameOfModel(id: string): string {
  return basename(id.replace(/@[0-9a-f]{40}$/, ""));
}

/**
 * Refuses a checkpoint of another backbone; a plain state dict does not say of which it is.
 * @throws {RangeError} naming both.
 */
export function checkBackbone({ path, checkpoint, origin }: NamedCheckpoint, config: Config): void {
  const saved = (checkpoint.config as Partial<Config>).model?.model_kwargs?.model_id;
  const { model_id } = config.model.model_kwargs;
  if (saved === undefined && origin === "torch") return;
  if (saved !== undefined && nameOfModel(saved) === nameOfModel(model_id)) return;
  const found = `'${path}' was saved from ${describe(checkpoint.config)}`;
  const other = "name a checkpoint of the same backbone";
  const name = saved && nameOfModel(saved);
  const next = name
    ? `set model_id to a folder named '${name}' or to OWNER/${name} of the Hub, or ${other}`
    : other;
  throw new RangeError(`${found}, but this run's model_id is '${model_id}'; ${next}`);
}

/**
 * Refuses a checkpoint whose adapter was trained with another scale: its numbers would mean something else.
 * @throws {RangeError} naming both values and what to set.
 */
export function checkScale({ path, checkpoint }: NamedCheckpoint, config: Config): void {
  const { do_lora, lora_config } = config.model.model_kwargs;
  const { model } = checkpoint.config as { model?: { model_kwargs?: Record<string, unknown> } };
  const saved = (model?.model_kwargs?.lora_config ?? {}) as LoraKeys;
  if (!do_lora || model?.model_kwargs?.do_lora === false) return;
  for (const key of ["lora_alpha", "use_rslora", "alpha_pattern"] as const) {
    const [was, is] = [saved[key], lora_config[key]].map((value) => JSON.stringify(value));
    if (was === undefined || was === is) continue;
    throw new RangeError(
      `'${path}' was trained with ${key} ${was}, this run's is ${is}; set ${key}=${was}`,
    );
  }
}

/**
 * What became of each tensor of a foreign start, in lines, and that a PyTorch file lacks the row of [PAD].
 * @throws {RangeError} when an adapter does not fit the model module by module.
 */
export function foreignReport(
  start: NamedCheckpoint,
  unshared: Unshared,
  { backbone, tokenizer }: Pick<Method, "backbone" | "tokenizer">,
): string[] {
  const lines = tensorLines(start, unshared);
  if (start.origin !== "torch" || backbone.config.vocab_size >= tokenizer.size) return lines;
  return [
    ...lines,
    `Warning: ${start.path} holds no row for [PAD], and its run's was drawn by PyTorch: pad_row says how ` +
    "this run makes one; answers differ where pad_in_answer lets [PAD] be drawn",
  ];
}

/**
 * What became of each tensor of a foreign start, in lines.
 * @throws {RangeError} when an adapter does not fit the model module by module.
 */
export function tensorLines(
  { path, checkpoint, origin, notRead = [], warnings = [] }: NamedCheckpoint,
  { missing, unused }: Unshared,
): string[] {
  if (origin === undefined) return [];
  const [absent] = missing.filter((name) => name.startsWith("llm."));
  if (origin === "peft" && (unused.length > 0 || absent !== undefined)) {
    const what = unused.length > 0 ? `has '${unused[0]}' and the model not` : `has no '${absent}'`;
    throw new RangeError(`'${path}' ${what}; name an adapter of the same base model`);
  }
  const numUsed = checkpoint.tensors.size - unused.length;
  return [
    `${path}: ${numUsed} of ${checkpoint.tensors.size + notRead.length} tensors are used`,
    ...(unused.length > 0 ? [`  in it, but not used: ${unused.join(", ")}`] : []),
    ...(notRead.length > 0 ? [`  no floats, so not read: ${notRead.join(", ")}`] : []),
    ...(missing.length > 0 ? [`  not in it, so new: ${missing.join(", ")}`] : []),
    ...warnings,
  ];
}
