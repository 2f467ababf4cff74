/**
 * Two tests of the same questions, compared question by question: how much more the second answers right, with its 95 %
 * interval. Intervals of two separate accuracies are wider, as they also hold how hard the questions are.
 *
 *   ./denow task paired BEFORE/test.json AFTER/test.json
 *
 * A question counts as the share of its runs that are right; the interval is 1.96 standard errors of the mean difference.
 */
import { resolve } from "node:path";
import process from "node:process";
import { mean } from "../data/metrics.ts";
import { callersFolder } from "../io/callers_folder.ts";
import type { TestResults } from "../training/test_run.ts";

/** A difference of accuracies, from -1 to 1. */
export interface Difference {
  readonly speed: number | string;
  readonly protocol: "greedy" | "drawn";
  readonly before: number;
  readonly after: number;
  readonly difference: number;
  /** Half the width of its 95 % interval. */
  readonly half: number;
}

/**
 * Differences at every speed and protocol that both tests have.
 * @throws {RangeError} for tests of other questions, of fewer than two, or with nothing in common.
 */
export function pairedDifferences(before: TestResults, after: TestResults): Difference[] {
  const count = before.questions.length;
  if (count < 2 || before.questions.join("\n") !== after.questions.join("\n")) {
    throw new RangeError(
      `Two tests of the same two or more questions are compared, got ${count} and ` +
        `${after.questions.length}${count === after.questions.length ? ", others" : ""}; ` +
        "set the same dataset_name and n_test",
    );
  }
  const found = before.speeds.flatMap((first) => {
    const second = after.speeds.find(({ speed }) => speed === first.speed);
    if (!second) return [];
    const { speed } = first;
    const greedy = { speed, protocol: "greedy" as const };
    const drawn = { speed, protocol: "drawn" as const };
    return [
      { ...greedy, ...compare(rightShares([first.greedy]), rightShares([second.greedy])) },
      ...first.paper && second.paper
        ? [{ ...drawn, ...compare(rightShares(first.paper.runs), rightShares(second.paper.runs)) }]
        : [],
    ];
  });
  if (found.length === 0) throw new RangeError("The two tests have no thinking speed in common");
  return found;
}

type Runs = readonly TestResults["speeds"][number]["greedy"][];

/** Of each question, the share of runs that are right. */
function rightShares(runs: Runs): number[] {
  return runs[0].predictions.map((_, i) => mean(runs.map(({ predictions }) => predictions[i].acc)));
}

function compare(before: readonly number[], after: readonly number[]) {
  const differences = after.map((share, i) => share - before[i]);
  const difference = mean(differences);
  const squares = differences.reduce((sum, value) => sum + (value - difference) ** 2, 0);
  const variance = squares / (differences.length - 1);
  const half = 1.96 * Math.sqrt(variance / differences.length);
  return { before: mean(before), after: mean(after), difference, half };
}

async function readTest(path: string): Promise<TestResults> {
  try {
    const results = JSON.parse(await Deno.readTextFile(path));
    if (!results?.questions || !results.speeds) throw new Error("it has no questions and speeds");
    return results;
  } catch (error) {
    throw new Error(`'${path}' is no test.json: ${(error as Error).message}`);
  }
}

async function main([before, after]: readonly string[]): Promise<void> {
  if (!after) throw new Error("needs two files: BEFORE/test.json AFTER/test.json");
  const [first, second] = await Promise.all(
    [before, after].map((path) => readTest(resolve(callersFolder() ?? ".", path))),
  );
  const percent = (share: number) => (100 * share).toFixed(1);
  for (const line of pairedDifferences(first, second)) {
    console.log(
      `speed ${line.speed}, ${line.protocol}: ${percent(line.before)} to ` +
        `${percent(line.after)} %, difference ${percent(line.difference)} +- ${percent(line.half)}`,
    );
  }
}

if (import.meta.main) {
  await main(Deno.args).catch(({ message }: Error) => {
    console.error(`paired.ts: ${message}`);
    process.exit(2);
  });
}
