/** Trained tensors to and from checkpoints: which belong to a method, and what is said of those that do not. */
import type { Gpu } from "../gpu/device.ts";
import type { Checkpoint, CheckpointTensor } from "../io/checkpoint.ts";
import type { TrainedTensor } from "../models/method.ts";

/** A checkpoint with the path that the user knows it by. */
export interface NamedCheckpoint {
  readonly path: string;
  readonly checkpoint: Checkpoint;
  /** Where it is no checkpoint of ours: a PyTorch file, or an adapter of PEFT. */
  readonly origin?: "torch" | "peft";
  /** Names of tensors that are no floats. */
  readonly notRead?: readonly string[];
  /** Lines of what may be wrong about it, told with what became of its tensors. */
  readonly warnings?: readonly string[];
}

/** Names of tensors that a checkpoint and a method do not share. */
export interface Unshared {
  /** Trained by the method, not in the checkpoint: they keep their initial values. */
  readonly missing: readonly string[];
  /** In the checkpoint, not trained by the method: they are left out. */
  readonly unused: readonly string[];
}

/** The numbers of trained tensors, for a checkpoint. */
export async function readTensors(
  gpu: Gpu,
  parameters: readonly TrainedTensor[],
): Promise<Map<string, CheckpointTensor>> {
  const reads = parameters.map(({ name, tensor }) => ({
    name,
    shape: tensor.shape,
    read: gpu.readback(tensor),
  }));
  const tensors = new Map<string, CheckpointTensor>();
  for (const { name, shape, read } of reads) {
    tensors.set(name, { shape, data: await read.data() as Float32Array });
  }
  return tensors;
}

/**
 * Writes a checkpoint's tensors to the method's of the same names.
 * @param options.complete whether every trained tensor must be there: to resume, to test and to reinforce, but not to
 * initialise
 * @throws {RangeError} when the checkpoint is another model's: no tensor, or not all that must be, or another shape.
 * Nothing is changed then.
 */
export function writeTensors(
  gpu: Gpu,
  parameters: readonly TrainedTensor[],
  { path, checkpoint }: NamedCheckpoint,
  { complete }: { readonly complete: boolean },
): Unshared {
  const { tensors } = checkpoint;
  const origin = `'${path}' was saved from ${describe(checkpoint.config)}`;
  for (const { name, tensor } of parameters) {
    const found = tensors.get(name);
    if (!found || found.shape.join() === tensor.shape.join()) continue;
    throw new RangeError(
      `${origin}: its '${name}' is [${found.shape.join(", ")}], this run's is ` +
        `[${tensor.shape.join(", ")}]; name a checkpoint of the same model and sizes`,
    );
  }
  const missing = parameters.map(({ name }) => name).filter((name) => !tensors.has(name));
  if (missing.length === parameters.length || complete && missing.length > 0) {
    const rule = missing.length === parameters.length ? "none" : "not all";
    throw new RangeError(
      `${origin}: it has ${rule} of this run's tensors, '${missing[0]}' for one; ` +
        "name a checkpoint of the same model, with the same do_lora",
    );
  }
  for (const { name, tensor } of parameters) {
    const found = tensors.get(name);
    if (found) gpu.write(tensor, found.data);
  }
  const own = new Set(parameters.map(({ name }) => name));
  return { missing, unused: [...tensors.keys()].filter((name) => !own.has(name)) };
}

/** A saved configuration's model in words: `models/cot.ts on assets/nano`. */
export function describe(config: unknown): string {
  const { target, model_kwargs } = (config as { model?: Record<string, unknown> })?.model ?? {};
  const { model_id } = (model_kwargs ?? {}) as Record<string, unknown>;
  return `${target ?? "an unknown model"} on ${model_id ?? "an unknown backbone"}`;
}
