/** Writes a checkpoint as PEFT or transformers read it. */
import { exportMerged, exportPeft, FORMATS } from "../training/export.ts";
import { type Command, COMMON, onGpu } from "./command.ts";

/** The command. */
export const exportCheckpoint: Command = {
  help: "writes a checkpoint for other programs",
  options: {
    ckpt: { value: "CHECKPOINT", help: "a folder below a run's checkpoints" },
    format: { value: "peft", help: "peft: the adapter; merged: the whole model, in Hub layout" },
    out: { value: "FOLDER", help: "a new folder (exported/ in the run's)" },
    workspace_path: COMMON.workspace_path,
    kernels: COMMON.kernels,
  },
  run: async ({ text }) => {
    const { ckpt: path, format, out, workspace_path: workspace = "." } = text;
    const known = FORMATS.find((word) => word === format);
    if (path === undefined || known === undefined) {
      throw new RangeError(`export needs --ckpt=CHECKPOINT and --format=${FORMATS.join(" or ")}`);
    }
    const request = { path, out, workspace };
    const lines = known === "peft"
      ? await exportPeft(request)
      : await onGpu(text, (gpu) => exportMerged(gpu, request));
    for (const line of lines) console.log(line);
    return 0;
  },
};
