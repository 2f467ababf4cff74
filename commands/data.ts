/** Shows what a data set holds. */
import { showData } from "../training/show_data.ts";
import { type Command, COMMON } from "./command.ts";

/** The command. */
export const data: Command = {
  help: "what a data set holds: rows, token lengths, faults; model_id=FOLDER names the tokenizer",
  options: {
    dataset: { value: "arith", help: "of configs/datasets (arith), or a path" },
    workspace_path: COMMON.workspace_path,
  },
  takesSettings: true,
  run: async ({ text: { dataset, workspace_path: workspace = "." }, settings: overrides }) => {
    console.log(await showData({ dataset, overrides, workspace }));
    return 0;
  },
};
