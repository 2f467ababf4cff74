/** Says what computes here, how fast, and what to do about problems; or plans the memory of a model. */
import type { Given } from "../io/command_line.ts";
import { examine, problemsOf } from "../io/doctor.ts";
import { doctorReport } from "../io/doctor_report.ts";
import { openGpu } from "../io/open_gpu.ts";
import { planReport } from "../io/plan_report.ts";
import { Report } from "../io/report.ts";
import { noLog } from "../io/run_log.ts";
import { planModel } from "../training/plan_model.ts";
import { type Command, COMMON } from "./command.ts";

/** The command. */
export const doctor: Command = {
  help: "what computes here, how fast, and what to do about problems",
  options: {
    kernels: COMMON.kernels,
    json: { help: "the same as JSON" },
    model_id: { value: "MODEL", help: "plans the memory of a model instead" },
    batch_size: { value: "N", help: "its rows at once (8)" },
    length: { value: "N", help: "tokens of each row (256)" },
    workspace_path: COMMON.workspace_path,
  },
  run: async ({ text, flags }) => {
    if (text.model_id !== undefined) return await plan(text, text.model_id, flags.has("json"));
    const facts = await examine({ kernels: text.kernels });
    const problems = problemsOf(facts);
    const isJson = flags.has("json");
    console.log(
      isJson ? JSON.stringify({ ...facts, problems }, null, 2) : doctorReport(facts, problems),
    );
    return facts.adapter ? 0 : 1;
  },
};

/** Prints a plan of memory, on the device that would compute. */
async function plan(text: Given["text"], model_id: string, isJson: boolean): Promise<number> {
  const { batch_size: batchSize, length, workspace_path: workspace = "." } = text;
  using gpu = await openGpu({ kernels: text.kernels, measure: false });
  const report = new Report(noLog, isJson);
  const facts = await planModel(gpu, { model_id, batchSize, length, workspace }, { report });
  console.log(isJson ? JSON.stringify(facts, null, 2) : planReport(facts));
  return 0;
}
