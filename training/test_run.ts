/**
 * The test of a trained method: at every speed greedily, and by the paper's protocol with several decode seeds.
 *
 * The paper's protocol draws latents, the end of thinking and the answer, `test_times` times with the decode seeds
 * seed, seed + 1, ...; the mean is reported. Two intervals are kept: 1.96 std / sqrt(test_times) over decode seeds, the
 * published one, and Wilson's 95 % over questions; `evaluation.interval` says which one the table shows.
 */
import { isWithin } from "../data/answer.ts";
import { mean, type Metrics, paperInterval, wilsonInterval } from "../data/metrics.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Config } from "../io/config.ts";
import type { Report } from "../io/report.ts";
import { saveLatents } from "../io/save_latents.ts";
import type { Method, ThinkingSpeed, TracedAnswer } from "../models/method.ts";
import { evaluate, type Evaluation } from "./evaluate.ts";
import { type ResultRow, resultTable, type Score } from "./result_table.ts";

/** What is tested. */
export interface TestOptions {
  readonly method: Method;
  readonly rows: readonly QsaRow[];
  readonly config: Config;
  readonly report: Report;
  /** The checkpoint's path; undefined where it was not saved. */
  readonly checkpoint?: string;
  /** Lines of the table above this method's: what it is compared with. */
  readonly compared?: readonly ResultRow[];
  /** Where the latents of the first runs at the monitored speed go. @default {nowhere} */
  readonly latents?: LatentsRequest;
  readonly signal?: AbortSignal;
}

/** What is kept of the latents. */
export interface LatentsRequest {
  /** A safetensors file. */
  readonly path: string;
  /** Blocks whose outputs it holds where latents stand, from 1. */
  readonly layers: readonly number[];
}

/** What test.json holds: JSON. */
export interface TestResults {
  readonly model: string;
  readonly dataset: string;
  /** Which rows of its source were tested: test or all; null for a set that is generated or a folder's. */
  readonly test_split: string | null;
  readonly num_questions: number;
  readonly checkpoint: string | null;
  /** Their texts, in the order of the split. */
  readonly questions: readonly string[];
  /** The table, the lines that the method is compared with first. */
  readonly rows: readonly ResultRow[];
  /** Everything measured, by speed. */
  readonly speeds: readonly SpeedResults[];
}

/** What was measured at one speed. */
interface SpeedResults {
  readonly speed: ThinkingSpeed;
  readonly greedy: Run;
  /** The paper's protocol; null where only greedy answers were asked for. */
  readonly paper: {
    readonly mean: Metrics;
    /** Half the published interval over decode seeds, of each metric. */
    readonly decode_seeds: Metrics;
    /** Wilson's 95 % interval over questions, of the accuracy. */
    readonly questions: readonly [number, number];
    readonly runs: readonly Run[];
  } | null;
}

type Run = Metrics & {
  readonly seed: number;
  /** Share of answers within `answer_tolerance`, where there is one. */
  readonly acc_within_tolerance?: number;
  readonly seconds_per_question: number;
  readonly predictions: Evaluation["predictions"];
};

/**
 * Tests a method, prints the table and leaves everything in test.json.
 * @throws the signal's reason when it is aborted.
 */
export async function testMethod(options: TestOptions): Promise<TestResults> {
  const { method, rows, config, report, checkpoint = null, compared = [], latents } = options;
  const [monitored] = method.speeds;
  const traced: Record<string, readonly TracedAnswer[]> = {};
  const { protocol, test_times } = config.evaluation;
  const times = protocol === "greedy" ? 1 : 1 + test_times;
  const total = method.speeds.length * times * rows.length;
  const speeds = await report.progress({ label: "test", total }, async (bar) => {
    let done = 0;
    const measure = async (speed: ThinkingSpeed, greedy: boolean, seed: number) => {
      const { signal } = options;
      const onProgress = (answered: number) => bar.update(done + answered);
      const isKept = latents && speed === monitored && (greedy || seed === config.seed);
      const layers = isKept ? latents.layers : undefined;
      const choice = { rows, config, signal, onProgress, speed, greedy, seed, layers };
      const evaluation = await evaluate(method, choice);
      if (isKept) traced[greedy ? "greedy" : "drawn"] = evaluation.traced;
      done += rows.length;
      return runOf(evaluation, seed, config.evaluation.answer_tolerance);
    };
    const all: SpeedResults[] = [];
    for (const speed of method.speeds) {
      const greedy = await measure(speed, true, config.seed);
      const runs: Run[] = [];
      for (let k = 1; k < times; k++) runs.push(await measure(speed, false, config.seed + k - 1));
      all.push({ speed, greedy, paper: runs.length > 0 ? summary(runs, rows.length) : null });
    }
    return all;
  });
  const own = speeds.map((results) => rowOf(results, method, config, rows.length));
  const results: TestResults = {
    model: modelName(config),
    dataset: config.data_module.dataset_name,
    test_split: config.data_module.source === null ? null : config.data_module.test_split,
    num_questions: rows.length,
    checkpoint,
    questions: rows.map(({ question }) => question),
    rows: [...compared, ...own],
    speeds,
  };
  await report.log.test(results);
  const split = results.test_split === null ? "" : ` (test_split=${results.test_split})`;
  report.line(
    `test on ${rows.length} questions of ${results.dataset}${split}, accuracy and 95 % interval`,
  );
  report.line(
    resultTable(results.rows, `drawn, ${test_times} ${test_times === 1 ? "seed" : "seeds"}`),
  );
  for (const line of toleranceLines(speeds, config)) report.line(line);
  const timesEach = speeds.map(({ speed, greedy }) =>
    `${(1000 * greedy.seconds_per_question).toFixed(1)} ms at speed ${speed}`
  );
  if (latents) {
    const { seed } = config;
    const made = { model: modelName(config), speed: monitored, seed, checkpoint };
    const metadata = Object.entries(made).map(([name, value]) => [name, String(value)]);
    await saveLatents(latents.path, traced, Object.fromEntries(metadata));
    report.line(`latents at speed ${monitored}: ${latents.path}`);
  }
  report.line(
    `time per question, ${config.dataloader.val_batch_size} at once: ${timesEach.join(", ")}`,
  );
  return results;
}

/**
 * A line for a model before its training, answered greedily at the monitored speed.
 * @throws the signal's reason when it is aborted.
 */
export async function startRow(
  { method, rows, config, signal }: Omit<TestOptions, "report">,
): Promise<ResultRow> {
  const [speed] = method.speeds;
  const options = { rows, config, signal, speed, greedy: true, seed: config.seed };
  const { metrics } = await evaluate(method, options);
  const label = `${labelOf(speed, method, config)}, before training`;
  return { label, greedy: scoreOf(metrics, wilsonInterval(metrics.acc, rows.length)) };
}

/** A model's name, from `models/colar.ts`. */
export function modelName({ model }: Config): string {
  return model.target.replace(/^.*\/|\.ts$/g, "");
}

function runOf(
  { metrics, predictions, secondsPerQuestion }: Evaluation,
  seed: number,
  tolerance: number | null,
): Run {
  const run = { seed, ...metrics, seconds_per_question: secondsPerQuestion, predictions };
  if (tolerance === null) return run;
  const within = predictions.map(({ answer, pred_answer }) =>
    isWithin(answer, pred_answer, tolerance) ? 1 : 0
  );
  return { ...run, acc_within_tolerance: mean(within) };
}

/** The second accuracy of each speed, where numbers may miss the answer by a little. */
function toleranceLines(speeds: readonly SpeedResults[], config: Config): string[] {
  const { answer_tolerance: tolerance } = config.evaluation;
  if (tolerance === null) return [];
  const percent = (runs: readonly Run[]) =>
    `${(100 * mean(runs.map((run) => run.acc_within_tolerance ?? 0))).toFixed(1)} %`;
  return speeds.map(({ speed, greedy, paper }) =>
    `within ${tolerance} of the answer at speed ${speed}: greedy ${percent([greedy])}` +
    (paper ? `, drawn ${percent(paper.runs)}` : "")
  );
}

function summary(runs: readonly Run[], numQuestions: number): SpeedResults["paper"] {
  const over = (statistic: (values: number[]) => number): Metrics => {
    const of = (name: keyof Metrics) => statistic(runs.map((run) => run[name]));
    return {
      acc: of("acc"),
      n_latent_forward: of("n_latent_forward"),
      n_latent_forward_on_acc: of("n_latent_forward_on_acc"),
      output_length: of("output_length"),
    };
  };
  const means = over(mean);
  const questions = wilsonInterval(means.acc, numQuestions);
  return { mean: means, decode_seeds: over(paperInterval), questions, runs };
}

function rowOf(
  { speed, greedy, paper }: SpeedResults,
  method: Method,
  config: Config,
  numQuestions: number,
): ResultRow {
  const label = labelOf(speed, method, config);
  const row = { label, greedy: scoreOf(greedy, wilsonInterval(greedy.acc, numQuestions)) };
  if (!paper) return row;
  const { mean: { acc }, decode_seeds, questions } = paper;
  const bySeeds = [acc - decode_seeds.acc, acc + decode_seeds.acc] as const;
  const interval = config.evaluation.interval === "questions" ? questions : bySeeds;
  return { ...row, drawn: scoreOf(paper.mean, interval) };
}

function scoreOf({ acc, n_latent_forward }: Metrics, interval: Score["interval"]): Score {
  return { acc, n_latent_forward, interval };
}

/** `cot`, or `colar, speed 5` where a method has several speeds or one that is not 1. */
function labelOf(speed: ThinkingSpeed, { speeds }: Method, config: Config): string {
  const isOnly = speeds.length === 1 && speed === 1;
  return isOnly ? modelName(config) : `${modelName(config)}, speed ${speed}`;
}
