/**
 * A checkpoint for other programs: its adapter as PEFT keeps it, or the whole model, merged, as the Hub keeps it.
 *
 * What the method trains beside the backbone (CoLaR's latent head) goes into method.safetensors under its own names;
 * no other program reads it. An adapter's folder has no row for `[PAD]`, as published checkpoints; a merged model has.
 *
 * A published PyTorch file is exported as `test` reads one: the files of configs/ say what it is of, and its tensors are put
 * into that model first, so that what does not fit is refused, and what the model does not have is left out.
 */
import { basename, dirname, join } from "node:path";
import type { Gpu } from "../gpu/device.ts";
import type { CheckpointTensor } from "../io/checkpoint.ts";
import type { HubOptions } from "../io/hub.ts";
import { readModelConfig, readModelJson } from "../io/load_model.ts";
import { checkRanks, peftName, writeAdapter } from "../io/peft.ts";
import { runFolderOf } from "../io/run_log.ts";
import { newFolder, saveModel, saveTensors, saveTokenizer } from "../io/save_model.ts";
import { DEFAULT_TARGETS, LoraAdapter, mergeAdapter } from "../llm/lora.ts";
import { buildMethod, type Built, findModel, locateModel } from "./build.ts";
import { foreignReport, tensorLines } from "./foreign_start.ts";
import { describe, type Unshared, writeTensors } from "./tensors.ts";
import { type ConfiguredTest, configureTest } from "./test_checkpoint.ts";

/** The forms that a checkpoint is exported in. */
export const FORMATS = ["peft", "merged"] as const;

/** What a command line asks for. */
export interface ExportRequest {
  /** The checkpoint's folder, or a PyTorch file. */
  readonly path: string;
  /** A file of configs/models, for a PyTorch file only. */
  readonly model?: string;
  /** A file of configs/datasets, or a path, for a PyTorch file only. @default {"arith"} */
  readonly dataset?: string;
  /** Arguments such as `model_id=FOLDER`, over the checkpoint's configuration. */
  readonly overrides?: readonly string[];
  /** A new folder. @default {exported/NAME-FORMAT in the run's folder} */
  readonly out?: string;
  /** The folder that holds models. */
  readonly workspace: string;
}

/** Gives a device to work on, such as `onGpu` of the command line. */
export type WithGpu = <T>(work: (gpu: Gpu) => Promise<T>) => Promise<T>;

/**
 * Writes a checkpoint's adapter as PEFT's save_pretrained does.
 * @param withGpu is called for a PyTorch file alone
 * @param hub how the Hub is asked for the base model. @default {as the environment's variables say, silently}
 * @returns lines that say what was written
 * @throws {RangeError} for a checkpoint without an adapter, or a folder that is there already; as `writeTensors` does.
 */
export async function exportPeft(
  request: ExportRequest,
  withGpu: WithGpu,
  hub?: HubOptions,
): Promise<string[]> {
  const { path, workspace } = request;
  const asked = await configureTest(request);
  const { model_id, do_lora, lora_config } = asked.config.model.model_kwargs;
  if (!do_lora) {
    throw new RangeError(
      asked.origin
        ? `'${path}' has no adapter with do_lora=False; set do_lora=True, or say --format=merged`
        : `'${path}' was saved from ${describe(asked.config)} with do_lora=False: it has no ` +
          "adapter; say --format=merged",
    );
  }
  const { configured, lines } = asked.origin
    ? await withGpu((gpu) => compared(gpu, asked, workspace))
    : { configured: asked, lines: [] };
  const { folder: source, origin } = await locateModel(model_id, workspace, hub);
  const { model_type } = await readModelConfig(source);
  const base = { model_id: origin?.name ?? model_id, commit: origin?.commit, model_type };
  const adapter = new Map<string, CheckpointTensor>();
  for (const [name, tensor] of configured.checkpoint.tensors) {
    const theirs = peftName(name);
    if (theirs !== undefined) adapter.set(theirs, tensor);
  }
  const target_modules = lora_config.target_modules ?? DEFAULT_TARGETS[model_type];
  const config = { ...lora_config, target_modules };
  checkRanks(adapter, config, path);
  const out = outOf(request, "peft");
  await newFolder(out, async (folder) => {
    await writeAdapter(folder, config, base, adapter);
    await saveRest(folder, configured);
  });
  return [
    ...lines,
    `${out}: ${adapter.size} tensors of the adapter of ${model_id}`,
    ...restLines(configured),
  ];
}

/**
 * Writes a checkpoint's whole model with its tokenizer, the adapter added into the matrices.
 * @returns lines that say what was written
 * @throws {RangeError} for a folder that is there already; as `buildMethod` and `writeTensors` do.
 */
export async function exportMerged(gpu: Gpu, request: ExportRequest): Promise<string[]> {
  const { workspace } = request;
  const asked = await configureTest(request);
  const { model_id } = asked.config.model.model_kwargs;
  const source = await findModel(model_id, workspace);
  using built = await buildFor(gpu, asked, workspace);
  const { backbone, tokenizer } = built.method;
  const unshared = writeTensors(gpu, built.method.parameters, asked, { complete: true });
  const lines = foreignReport(asked, unshared, built.method);
  const configured = used(asked, unshared);
  if (backbone.adapter instanceof LoraAdapter) await mergeAdapter(backbone, backbone.adapter);
  const published = await readModelJson(source);
  const dtype = "float32"; // a sum of 16-bit weights and an update is not rounded back
  const json = {
    ...published,
    torch_dtype: dtype,
    ...Object.hasOwn(published, "dtype") && { dtype }, // newer programs' name of the same, which they prefer
    vocab_size: tokenizer.size,
    pad_token_id: tokenizer.padId,
  };
  const out = outOf(request, "merged");
  await newFolder(out, async (folder) => {
    await saveModel(folder, json, backbone.weights);
    await saveTokenizer(source, folder, tokenizer);
    await saveRest(folder, configured);
  });
  return [...lines, `${out}: ${model_id}, merged, with its tokenizer`, ...restLines(configured)];
}

/** Builds the method that a checkpoint is of. */
async function buildFor(
  gpu: Gpu,
  { config, initialSeed: seed }: ConfiguredTest,
  workspace: string,
): Promise<Built> {
  return await buildMethod({ gpu, config, workspace, seed });
}

/**
 * Compares a PyTorch file with the model that it is said to be of.
 * @returns its checkpoint, of what is used, and what is said of the rest
 * @throws {RangeError} as `writeTensors` does.
 */
async function compared(gpu: Gpu, asked: ConfiguredTest, workspace: string) {
  using built = await buildFor(gpu, asked, workspace);
  const unshared = writeTensors(gpu, built.method.parameters, asked, { complete: true });
  return { configured: used(asked, unshared), lines: tensorLines(asked, unshared) };
}

/** A checkpoint without the tensors of a PyTorch file that the method does not have. */
function used(asked: ConfiguredTest, { unused }: Unshared): ConfiguredTest {
  if (asked.origin === undefined) return asked;
  const tensors = new Map([...asked.checkpoint.tensors].filter(([name]) => !unused.includes(name)));
  return { ...asked, checkpoint: { ...asked.checkpoint, tensors } };
}

/** Trained tensors that are no part of the backbone. */
function restOf({ checkpoint }: ConfiguredTest): Map<string, CheckpointTensor> {
  return new Map([...checkpoint.tensors].filter(([name]) => !name.startsWith("llm.")));
}

async function saveRest(folder: string, configured: ConfiguredTest): Promise<void> {
  const rest = restOf(configured);
  if (rest.size > 0) await saveTensors(join(folder, "method.safetensors"), rest);
}

function restLines(configured: ConfiguredTest): string[] {
  const names = [...restOf(configured).keys()];
  if (names.length === 0) return [];
  return [`  method.safetensors: ${names.length} tensors that only this program reads`];
}

function outOf({ path, out }: ExportRequest, format: typeof FORMATS[number]): string {
  const run = runFolderOf(path);
  const name = `${basename(path, ".ckpt")}-${format}`;
  return out ?? (run === undefined ? join(dirname(path), name) : join(run, "exported", name));
}
