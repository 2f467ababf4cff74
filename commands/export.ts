/** Writes a checkpoint as PEFT or transformers read it. */
import { exportMerged, exportPeft, FORMATS } from "../training/export.ts";
import { asSettings, type Command, COMMON, onGpu } from "./command.ts";

/** The command. */
export const exportCheckpoint: Command = {
  help: "writes a checkpoint for other programs; key=value changes keys",
  options: {
    ckpt: {
      value: "CHECKPOINT",
      help: "a folder below a run's checkpoints, or a published FILE.ckpt",
    },
    model: {
      value: "colar",
      help: "of configs/models, where CHECKPOINT is a published FILE.ckpt",
    },
    dataset: { value: "gsm8k_aug", help: "of configs/datasets, likewise, or a path" },
    format: { value: "peft", help: "peft: the adapter; merged: the whole model, in Hub layout" },
    out: { value: "FOLDER", help: "a new folder (exported/ in the run's)" },
    seed: COMMON.seed,
    workspace_path: COMMON.workspace_path,
    kernels: COMMON.kernels,
  },
  takesSettings: true,
  run: async ({ text, settings }) => {
    const { ckpt: path, format, out, model, dataset, workspace_path: workspace = "." } = text;
    const known = FORMATS.find((word) => word === format);
    if (path === undefined || known === undefined) {
      throw new RangeError(`export needs --ckpt=CHECKPOINT and --format=${FORMATS.join(" or ")}`);
    }
    const overrides = [...settings, ...asSettings(text)];
    const request = { path, out, workspace, model, dataset, overrides };
    const lines = known === "peft"
      ? await exportPeft(request, (work) => onGpu(text, work))
      : await onGpu(text, (gpu) => exportMerged(gpu, request));
    for (const line of lines) console.log(line);
    return 0;
  },
};
