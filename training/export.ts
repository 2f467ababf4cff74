/**
 * A checkpoint for other programs: its adapter as PEFT keeps it, or the whole model, merged, as the Hub keeps it.
 *
 * What the method trains beside the backbone (CoLaR's latent head) goes into method.safetensors under its own names;
 * no other program reads it. An adapter's folder has no row for `[PAD]`, as published checkpoints; a merged model has.
 */
import { basename, dirname, join } from "node:path";
import type { Gpu } from "../gpu/device.ts";
import type { CheckpointTensor } from "../io/checkpoint.ts";
import { readModelConfig, readModelJson } from "../io/load_model.ts";
import { peftName, writeAdapter } from "../io/peft.ts";
import { runFolderOf } from "../io/run_log.ts";
import { newFolder, saveModel, saveTensors, saveTokenizer } from "../io/save_model.ts";
import { DEFAULT_TARGETS, LoraAdapter, mergeAdapter } from "../llm/lora.ts";
import { buildMethod, findModel } from "./build.ts";
import { describe, writeTensors } from "./tensors.ts";
import { type ConfiguredTest, configureTest } from "./test_checkpoint.ts";

/** The forms that a checkpoint is exported in. */
export const FORMATS = ["peft", "merged"] as const;

/** What a command line asks for. */
export interface ExportRequest {
  /** The checkpoint's folder. */
  readonly path: string;
  /** A new folder. @default {exported/NAME-FORMAT in the run's folder} */
  readonly out?: string;
  /** The folder that holds models. */
  readonly workspace: string;
}

/**
 * Writes a checkpoint's adapter as PEFT's save_pretrained does.
 * @returns lines that say what was written
 * @throws {RangeError} for a checkpoint without an adapter, or a folder that is there already.
 */
export async function exportPeft(request: ExportRequest): Promise<string[]> {
  const { path, workspace } = request;
  const configured = await configureTest({ path, workspace });
  const { model_id, do_lora, lora_config } = configured.config.model.model_kwargs;
  if (!do_lora) {
    throw new RangeError(
      `'${path}' was saved from ${describe(configured.config)} with do_lora=False: it has no ` +
        "adapter; say --format=merged",
    );
  }
  const { model_type } = await readModelConfig(await findModel(model_id, workspace));
  const adapter = new Map<string, CheckpointTensor>();
  for (const [name, tensor] of configured.checkpoint.tensors) {
    const theirs = peftName(name);
    if (theirs !== undefined) adapter.set(theirs, tensor);
  }
  const target_modules = lora_config.target_modules ?? DEFAULT_TARGETS[model_type];
  const out = outOf(request, "peft");
  await newFolder(out, async (folder) => {
    const config = { ...lora_config, target_modules };
    await writeAdapter(folder, config, { model_id, model_type }, adapter);
    await saveRest(folder, configured);
  });
  return [
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
  const { path, workspace } = request;
  const configured = await configureTest({ path, workspace });
  const { config, initialSeed: seed } = configured;
  const { model_id } = config.model.model_kwargs;
  const source = await findModel(model_id, workspace);
  using built = await buildMethod({ gpu, config, workspace, seed });
  const { backbone, parameters, tokenizer } = built.method;
  writeTensors(gpu, parameters, configured, { complete: true });
  if (backbone.adapter instanceof LoraAdapter) await mergeAdapter(backbone, backbone.adapter);
  const json = {
    ...await readModelJson(source),
    torch_dtype: "float32", // a sum of 16-bit weights and an update is not rounded back
    vocab_size: tokenizer.size,
    pad_token_id: tokenizer.padId,
  };
  const out = outOf(request, "merged");
  await newFolder(out, async (folder) => {
    await saveModel(folder, json, backbone.weights);
    await saveTokenizer(source, folder, tokenizer);
    await saveRest(folder, configured);
  });
  return [`${out}: ${model_id}, merged, with its tokenizer`, ...restLines(configured)];
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
  const name = `${basename(path)}-${format}`;
  return out ?? (run === undefined ? join(dirname(path), name) : join(run, "exported", name));
}
