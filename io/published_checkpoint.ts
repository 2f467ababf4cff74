/**
 * A published checkpoint, a PyTorch file, as one of ours: its tensors as float32 under the names that ours have too.
 *
 * The published code saves what is trained, by the names of its modules, and its configuration as hyper-parameters
 * (xiaomi-research/colar, models/model_base.py). GPT-2's own tensors carry `transformer.` there, and its matrices,
 * [in, out] in files, are stored as they are computed with, [out, in].
 */
import { transpose } from "../llm/weights.ts";
import type { Checkpoint, CheckpointTensor } from "./checkpoint.ts";
import { openTorchCheckpoint } from "./torch_checkpoint.ts";

/** A PyTorch file as a checkpoint. */
export interface PublishedCheckpoint {
  readonly checkpoint: Checkpoint;
  /** Tensors that are no floats, which nothing here trains: not read. */
  readonly notRead: readonly string[];
}

/** Whether a path is a file: a checkpoint of ours is a folder. */
export async function isFile(path: string): Promise<boolean> {
  return (await Deno.stat(path).catch(() => undefined))?.isFile ?? false;
}

/**
 * Reads a file that torch.save or Lightning wrote; nothing in it is executed.
 * @throws {SyntaxError} as `openTorchCheckpoint` does.
 */
export async function loadPublishedCheckpoint(path: string): Promise<PublishedCheckpoint> {
  using file = await openTorchCheckpoint(path);
  const tensors = new Map<string, CheckpointTensor>();
  const notRead: string[] = [];
  for (const [name, { dtype, shape }] of file.tensors) {
    if (!/^(F|BF)\d/.test(dtype)) {
      notRead.push(name);
      continue;
    }
    const data = await file.readFloat32(name);
    const own = name.replace(/^llm\.transformer\./, "llm.");
    const isConv1d = own !== name && /\.c_(attn|proj|fc)\.weight$/.test(name);
    const [rows, columns] = shape;
    tensors.set(
      own,
      isConv1d ? { shape: [columns, rows], data: transpose(data, rows, columns) } : { shape, data },
    );
  }
  const { epoch, global_step, hyper_parameters } = file.facts;
  const state = { epoch: Number(epoch ?? 0), step: Number(global_step ?? 0) };
  return { checkpoint: { tensors, state, config: configOf(hyper_parameters) }, notRead };
}

/** The model's part of the published configuration: `all_config.model`, else the arguments of the model itself. */
function configOf(hyperParameters: unknown): unknown {
  const { all_config, model_kwargs } = (hyperParameters ?? {}) as Record<string, unknown>;
  const { model } = (all_config ?? {}) as Record<string, unknown>;
  return { model: model ?? (model_kwargs === undefined ? {} : { model_kwargs }) };
}
