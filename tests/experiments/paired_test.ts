/** Paired differences against numbers worked out by hand, and tests that are not of the same questions. */
import assert from "node:assert/strict";
import { pairedDifferences } from "../../experiments/paired.ts";
import type { TestResults } from "../../training/test_run.ts";
import { assertClose } from "../check_op.ts";

Deno.test("paired: a difference per question, runs of one question averaged", () => {
  const before = results({ greedy: [1, 0, 0, 1], drawn: [[1, 0, 0, 1], [1, 0, 0, 0]] });
  const after = results({ greedy: [1, 1, 1, 0], drawn: [[1, 1, 0, 1], [1, 0, 0, 1]] });
  const [greedy, drawn] = pairedDifferences(before, after);
  assert.deepEqual([greedy.speed, greedy.protocol, drawn.protocol], [2, "greedy", "drawn"]);
  assert.deepEqual([greedy.before, greedy.after, greedy.difference], [0.5, 0.75, 0.25]);
  // Differences 0, 1, 1, -1: variance (1/16 + 9/16 + 9/16 + 25/16) / 3 = 11/12.
  assertClose([greedy.half], [1.96 * Math.sqrt(11 / 12 / 4)], 1e-12, "greedy");
  // Differences 0, 1/2, 0, 1/2: variance 4/16 / 3.
  assert.equal(drawn.difference, 0.25);
  assertClose([drawn.half], [1.96 * Math.sqrt(1 / 12 / 4)], 1e-12, "drawn");
});

Deno.test("paired: only what both tests have is compared", () => {
  const before = results({ greedy: [1, 0], drawn: undefined });
  const after = results({ greedy: [0, 0], drawn: [[1, 1]] });
  assert.deepEqual(pairedDifferences(before, after).map(({ protocol }) => protocol), ["greedy"]);
  assert.throws(() => pairedDifferences(before, results({ greedy: [0, 0] }, 5)), {
    name: "RangeError",
    message: "The two tests have no thinking speed in common",
  });
});

Deno.test("paired: tests of other questions are refused", () => {
  const before = results({ greedy: [1, 0] });
  assert.throws(() => pairedDifferences(before, results({ greedy: [1, 0, 1] })), {
    name: "RangeError",
    message: /got 2 and 3; set the same dataset_name and n_test/,
  });
  const others = { ...before, questions: ["c", "d"] };
  assert.throws(() => pairedDifferences(before, others), { message: /got 2 and 2, others;/ });
});

/** What a test of a run leaves, as far as it is read. */
function results(
  { greedy, drawn }: { greedy: number[]; drawn?: number[][] },
  speed = 2,
): TestResults {
  const run = (right: number[]) => ({ predictions: right.map((acc) => ({ acc })) });
  const speeds = [{
    speed,
    greedy: run(greedy),
    paper: drawn ? { runs: drawn.map(run) } : null,
  }];
  return { questions: greedy.map((_, i) => `question ${i}`), speeds } as unknown as TestResults;
}
