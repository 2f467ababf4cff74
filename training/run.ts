/** A training run from its request to its table: data, method, logs, training, and the test of its best checkpoint. */
import type { Gpu } from "../gpu/device.ts";
import { CheckpointFolder } from "../io/checkpoint_folder.ts";
import { loadCheckpoint } from "../io/checkpoint.ts";
import { type Config, printConfig } from "../io/config.ts";
import { Report } from "../io/report.ts";
import { describeEnvironment, noLog, openRunLog, runFolderOf, type RunLog } from "../io/run_log.ts";
import type { Method } from "../models/method.ts";
import { buildMethod, findModel, type LocatedModel, pinModel } from "./build.ts";
import { configureRun, type RunRequest, settingLines } from "./configure.ts";
import type { ResultRow } from "./result_table.ts";
import { foreignReport } from "./foreign_start.ts";
import { checkTrainingRows, loadData, pinData } from "./load_data.ts";
import { memoryWarning } from "./memory_warning.ts";
import { questionSample, reinforcementOf } from "./question_sample.ts";
import { runLength } from "./schedule.ts";
import { type RunOutcome, startOf } from "./start.ts";
import { type NamedCheckpoint, readTensors, type Unshared, writeTensors } from "./tensors.ts";
import { modelName, startRow, testMethod } from "./test_run.ts";
import { train } from "./trainer.ts";

/**
 * Trains as asked, tests where asked, and says where everything is.
 * @throws as the parts of a run do, {RangeError}, {TypeError} or {SyntaxError} for a user's mistake.
 */
export async function trainRun(
  gpu: Gpu,
  request: RunRequest,
  signal?: AbortSignal,
): Promise<RunOutcome> {
  const report = new Report();
  const trainCot = (cot: RunRequest) => trainRun(gpu, cot, signal);
  const { config: asked, set, names, resume } = await configureRun(request);
  for (const line of settingLines(set)) report.show(line);
  const hub = { report, signal };
  const dataset = await loadData(asked, request.workspace, hub);
  checkTrainingRows(dataset, asked);
  const withData = await pinData(asked, dataset);
  const { config, origin } = await pinModel(withData, request.workspace, hub);
  const folder = await findModel(config.model.model_kwargs.model_id, request.workspace);
  const warning = await memoryWarning({ device: gpu, config, folder, rows: dataset.train });
  if (warning !== undefined) report.show(warning);
  const start = resume
    ? undefined
    : await startOf(request, config, dataset.test.length, report, trainCot);
  if (start?.isInterrupted) return { isInterrupted: true };
  using built = await buildMethod({ gpu, config, workspace: request.workspace });
  const { method } = built;
  const source = resume ?? start?.best;
  const complete = resume !== undefined || reinforcementOf(config) !== undefined;
  const unshared = source && writeTensors(gpu, method.parameters, source, { complete });
  const foreignLines = source && unshared ? foreignReport(source, unshared, method) : [];
  using log = await openLog(gpu, request, config, origin, resume);
  report.log = log;
  const { count, mode } = { count: config.callbacks.save_top_k, mode: config.callbacks.mode };
  const checkpoints = log.checkpoints === undefined
    ? undefined
    : await CheckpointFolder.open(log.checkpoints, { count, mode });
  if (warning !== undefined) log.line(warning); // it was shown before there was a log
  for (const line of dataset.lines) report.line(line);
  report.line(describeRun(gpu, config, dataset.train.length, method.parameters));
  if (start?.best?.origin) { for (const line of foreignLines) report.line(line); }
  else if (start?.best) report.line(`begins from ${start.best.path}${differences(unshared)}`);
  if (resume) report.line(`goes on from ${resume.path}, step ${resume.checkpoint.state.step}`);
  const test = { method, rows: dataset.test, config, signal };
  const compared = resume
    ? resume.checkpoint.state.compared as ResultRow[] | undefined ?? []
    : [...start?.compared ?? [], ...request.doTest ? [await startRow(test)] : []];
  const notes = { names, compared };
  const { step, isInterrupted } = await train({
    gpu,
    method,
    config,
    dataset,
    report,
    checkpoints,
    notes,
    resume,
    signal,
  });
  if (isInterrupted) {
    report.line(interruption(step, checkpoints));
    return { isInterrupted, folder: log.folder, best: undefined, results: undefined };
  }
  const best = await bestOf(gpu, method.parameters, checkpoints, config, step);
  if (request.doTest) writeTensors(gpu, method.parameters, best, { complete: true });
  const results = request.doTest
    ? await testMethod({ ...test, report, checkpoint: best.path, compared })
    : undefined;
  if (log.folder) {
    report.line(`logs: ${log.folder}\ntest: ./denow task test --ckpt=${best.path}`);
  }
  return { isInterrupted, folder: log.folder, best, results };
}

async function openLog(
  gpu: Gpu,
  { workspace, noLog: isOff, suffix }: RunRequest,
  config: Config,
  model: LocatedModel["origin"],
  resume: NamedCheckpoint | undefined,
): Promise<RunLog> {
  if (isOff) return noLog;
  const folder = resume && runFolderOf(resume.path);
  return await openRunLog({
    workspace,
    model: modelName(config),
    dataset: config.data_module.dataset_name,
    suffix,
    config: await printConfig(config),
    environment: await describeEnvironment(gpu.info, model),
    resume: folder === undefined ? undefined : { folder, step: resume?.checkpoint.state.step },
  });
}

/** The best checkpoint from the disk; where nothing was saved, the weights as they are. */
async function bestOf(
  gpu: Gpu,
  parameters: Method["parameters"],
  checkpoints: CheckpointFolder | undefined,
  config: Config,
  step: number,
): Promise<NamedCheckpoint> {
  if (checkpoints) {
    const path = checkpoints.bestPath ?? checkpoints.last;
    return { path, checkpoint: await loadCheckpoint(path, { optimizer: false }) };
  }
  const tensors = await readTensors(gpu, parameters);
  const state = { epoch: 0, step };
  return { path: "the weights of this run", checkpoint: { tensors, state, config } };
}

function describeRun(gpu: Gpu, config: Config, numRows: number, parameters: Method["parameters"]) {
  const asked = questionSample(config, numRows)?.length;
  const { numSteps } = runLength(config, asked ?? numRows);
  const { batch_size } = config.dataloader;
  const { accumulate_grad_batches: accumulate } = config.trainer;
  const rl = reinforcementOf(config);
  const rows = accumulate > 1 ? `${accumulate} x ${batch_size}` : batch_size;
  const each = rl ? `${rows} questions x ${rl.group_size} samples` : rows;
  const most = rl?.filter_dataset ? "at most " : ""; // questions that are always right leave later
  const numTrained = parameters.reduce((sum, { tensor }) => sum + tensor.size, 0);
  return `train ${modelName(config)} on ${config.data_module.dataset_name}: ${numRows} rows, ` +
    `${most}${numSteps} steps of ${each}, ${numTrained} trained numbers, ${gpu.info.description}`;
}

/** What a checkpoint and the method do not share, in words. */
function differences(unshared: Unshared | undefined): string {
  const parts = [
    ["not in it, so new", unshared?.missing],
    ["in it, but not used", unshared?.unused],
  ] as const;
  return parts.map(([what, names = []]) => {
    if (names.length === 0) return "";
    const more = names.length > 4 ? ` and ${names.length - 4} more` : "";
    return `; ${what}: ${names.slice(0, 4).join(", ")}${more}`;
  }).join("");
}

function interruption(step: number, checkpoints: CheckpointFolder | undefined): string {
  if (!checkpoints) return `stopped at step ${step}; nothing is saved with --no_log`;
  return `stopped at step ${step}; go on with:\n` +
    `  ./denow task train --resume_ckpt_path=${checkpoints.last}`;
}
