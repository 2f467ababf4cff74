/**
 * What runs left, as their report shows it: curves of train.json, scores and answers of test.json.
 *
 * Files may be of a run that goes on, or was killed: a last line without its end is left out and said so. Any other fault
 * is refused by file and line, since a report without it would mislead. A curve of many steps is thinned by means.
 */
import { basename, dirname, join, resolve } from "node:path";
import { exists } from "./atomic.ts";
import { quote } from "./safetensors_header.ts";

/** More points than a screen has pixels across are averaged. */
const MAX_POINTS = 1000;

/** As run_log.ts writes them, since JSON has no such numbers. */
const NOT_FINITE = ["NaN", "Infinity", "-Infinity"];

/** One number of a run over its steps; NaN and infinities are left out. */
export interface Curve {
  readonly steps: readonly number[];
  readonly values: readonly number[];
  /** How many logged points each is the mean of. */
  readonly mean_of: number;
}

/** A line of a test's table. */
export interface ReportScore {
  readonly label: string;
  /** Whether it is the run's own, and not what the run is compared with. */
  readonly is_own: boolean;
  readonly kind: "greedy" | "drawn";
  readonly acc: number;
  readonly n_latent_forward: number;
  readonly interval: readonly [low: number, high: number];
}

/** One question at one speed, answered greedily. */
export interface ReportAnswer {
  readonly speed: number;
  /** Row of the split, from 0. */
  readonly index: number;
  readonly output_string: string;
  readonly pred_answer: string;
  readonly answer: string;
  readonly acc: number;
  readonly n_latent_forward: number;
  /** How many of the drawn answers are right, and of how many; null where none were drawn. */
  readonly drawn: readonly [right: number, times: number] | null;
}

/** A run as its report shows it: JSON. */
export interface ReportRun {
  /** Its folder, without what it has in common with the others'. */
  readonly name: string;
  /** The last logged step; 0 where nothing was trained. */
  readonly steps: number;
  readonly curves: Readonly<Record<string, Curve>>;
  readonly scores: readonly ReportScore[];
  /** Texts by row of the split; empty where test.json does not hold them. */
  readonly questions: readonly string[];
  readonly answers: readonly ReportAnswer[];
  /** What a reader must know of it, a line each. */
  readonly notes: readonly string[];
}

/** The part of test.json that is read here. */
interface TestFile {
  readonly rows: readonly {
    readonly label: string;
    readonly greedy?: Omit<ReportScore, "label" | "is_own" | "kind">;
    readonly drawn?: Omit<ReportScore, "label" | "is_own" | "kind">;
  }[];
  readonly questions?: readonly string[];
  readonly speeds: readonly {
    readonly speed: number;
    readonly greedy: TestedRun;
    readonly paper: { readonly runs: readonly TestedRun[] } | null;
  }[];
}

interface TestedRun {
  readonly predictions: readonly Omit<ReportAnswer, "speed" | "drawn">[];
}

/**
 * Reads what runs left.
 * @param folders of runs; one that is given twice is read once
 * @throws {RangeError} for a folder that is no run's, {SyntaxError} for a file that is torn or changed.
 */
export async function readRuns(folders: readonly string[]): Promise<ReportRun[]> {
  const given = new Map(folders.map((folder) => [resolve(folder), folder]));
  const names = shortNames([...given.keys()]);
  return await Promise.all([...given].map(([path, folder]) => readRun(names.get(path)!, folder)));
}

async function readRun(name: string, folder: string): Promise<ReportRun> {
  const [train, test] = await Promise.all(
    ["train.json", "test.json"].map((file) => textOf(join(folder, file))),
  );
  if (train === undefined && test === undefined) {
    const rule = "a run's folder has a train.json or a test.json";
    throw new RangeError(`no run in ${quote(folder)}: ${rule}; name folders below logs/`);
  }
  const trained = train === undefined
    ? { steps: 0, curves: {}, notes: ["there is no train.json"] }
    : curvesOf(train, folder);
  const tested = test === undefined
    ? { scores: [], questions: [], answers: [], notes: ["it was not tested"] }
    : answersOf(test, folder);
  return { name, ...trained, ...tested, notes: [...trained.notes, ...tested.notes] };
}

async function textOf(path: string): Promise<string | undefined> {
  return await exists(path) ? await Deno.readTextFile(path) : undefined;
}

function curvesOf(text: string, folder: string): Pick<ReportRun, "steps" | "curves" | "notes"> {
  const points = new Map<string, { steps: number[]; values: number[] }>();
  const faults = new Map<string, { first: number; count: number }>();
  const notes: string[] = [];
  const lines = text.split("\n");
  let steps = 0;
  for (const [i, line] of lines.entries()) {
    if (line === "") continue;
    const logged = recordOf(line);
    if (logged === undefined && i === lines.length - 1) {
      notes.push(`the last line of train.json, ${i + 1}, is torn and left out`);
      continue;
    }
    const step = logged?.step;
    if (logged === undefined || typeof step !== "number") {
      throw new SyntaxError(
        `line ${i + 1} of ${
          quote(join(folder, "train.json"))
        } must be a JSON object with a step, ` +
          `got ${quote(line.slice(0, 40))}; mend it, or leave the run out`,
      );
    }
    steps = Math.max(steps, step);
    for (const [name, value] of Object.entries(logged)) {
      if (name === "step") continue;
      if (typeof value === "number") {
        const curve = points.get(name) ?? { steps: [], values: [] };
        points.set(name, curve);
        curve.steps.push(step);
        curve.values.push(value);
      } else if (typeof value === "string" && NOT_FINITE.includes(value)) {
        const { first, count } = faults.get(name) ?? { first: step, count: 0 };
        faults.set(name, { first, count: count + 1 });
      }
    }
  }
  for (const [name, { first, count }] of faults) {
    notes.push(
      `${name} is not finite at ${count} ${count === 1 ? "step" : "steps"}, first ${first}`,
    );
  }
  const curves = [...points].map(([name, curve]) => [name, thinned(curve.steps, curve.values)]);
  return { steps, curves: Object.fromEntries(curves), notes };
}

/** Means of as many neighbours as it takes to have at most MAX_POINTS, each at its last step. */
function thinned(steps: readonly number[], values: readonly number[]): Curve {
  const mean_of = Math.ceil(steps.length / MAX_POINTS);
  const starts = Array.from({ length: Math.ceil(steps.length / mean_of) }, (_, i) => i * mean_of);
  const means = starts.map((start) => {
    const part = values.slice(start, start + mean_of);
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const last = (start: number) => steps[Math.min(start + mean_of, steps.length) - 1];
  return {
    steps: starts.map(last),
    values: means.map((value) => Number(value.toPrecision(6))),
    mean_of,
  };
}

function answersOf(
  text: string,
  folder: string,
): Pick<ReportRun, "scores" | "questions" | "answers" | "notes"> {
  const results = recordOf(text);
  if (!isTestFile(results)) {
    throw new SyntaxError(
      `${
        quote(join(folder, "test.json"))
      } must be what a test writes, JSON with rows and speeds; ` +
        "test the checkpoint again, or leave the run out",
    );
  }
  const { rows, speeds, questions = [] } = results;
  const scores = rows.flatMap(({ label, ...row }, i) =>
    (["greedy", "drawn"] as const).flatMap((kind) => {
      const score = row[kind];
      const is_own = i >= rows.length - speeds.length; // what it is compared with comes first
      return score ? [{ label, is_own, kind, ...score }] : [];
    })
  );
  const answers = speeds.flatMap(({ speed, greedy, paper }) =>
    greedy.predictions.map((prediction, i): ReportAnswer => {
      const right = paper?.runs.filter(({ predictions }) => predictions[i]?.acc === 1).length;
      const drawn = paper && right !== undefined ? [right, paper.runs.length] as const : null;
      const { index, output_string, pred_answer, answer, acc, n_latent_forward } = prediction;
      const told = { index, output_string, pred_answer, answer, acc, n_latent_forward };
      return { speed, ...told, drawn };
    })
  );
  const lacks = questions.length === 0 && answers.length > 0;
  const note = "its test.json has no texts of questions; a new test writes them";
  return { scores, questions, answers, notes: lacks ? [note] : [] };
}

/** @returns undefined where the text is no JSON object */
function recordOf(text: string): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isTestFile(value: unknown): value is TestFile {
  const { rows, speeds, questions = [] } = (value ?? {}) as Partial<
    Record<keyof TestFile, unknown>
  >;
  const isRun = (run: unknown) => Array.isArray((run as Partial<TestedRun> | null)?.predictions);
  const isScore = (score: Partial<ReportScore>) =>
    [score.acc, score.n_latent_forward].every(Number.isFinite) && Array.isArray(score.interval);
  return [rows, speeds, questions].every(Array.isArray) &&
    (rows as TestFile["rows"]).every((row) =>
      [row?.greedy, row?.drawn].every((score) => score === undefined || isScore(score))
    ) &&
    (speeds as TestFile["speeds"]).every((each) =>
      isRun(each?.greedy) && (each.paper?.runs ?? []).every(isRun)
    );
}

/** Each path without the folders that all of them lie in; a report is for others too, so it names no more of this machine. */
function shortNames(paths: readonly string[]): Map<string, string> {
  let common = dirname(paths[0] ?? "");
  const isCommon = () => paths.every((path) => path.startsWith(join(common, "/")));
  while (!isCommon() && dirname(common) !== common) common = dirname(common);
  const rest = (path: string) => path.slice(join(common, "/").length) || basename(path);
  return new Map(paths.map((path) => [path, rest(path)]));
}
