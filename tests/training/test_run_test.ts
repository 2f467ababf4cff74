/** The test of a method: what test.json holds, and the table. */
import assert from "node:assert/strict";
import { wilsonInterval } from "../../data/metrics.ts";
import { noLog } from "../../io/run_log.ts";
import { Report } from "../../io/report.ts";
import { resultTable } from "../../training/result_table.ts";
import { startRow, testMethod, type TestResults } from "../../training/test_run.ts";
import { gpuTest } from "../check_op.ts";
import { fakeConfig, fakeMethod, fakeRows } from "./fake_method.ts";

/** A report that keeps what is logged. */
function keepingReport() {
  const lines: string[] = [];
  const tests: TestResults[] = [];
  const log = {
    ...noLog,
    line: (text: string) => void lines.push(text),
    test: (results: unknown) => Promise.resolve(void tests.push(results as TestResults)),
  };
  return { report: new Report(log, true), lines, tests };
}

gpuTest("test: greedy once, drawn test_times, both intervals, every prediction", async (gpu) => {
  using method = fakeMethod(gpu);
  const rows = fakeRows(20);
  const config = await fakeConfig("test_times=3", "seed=5");
  const { report, lines, tests } = keepingReport();
  const compared = [{ label: "cot, before training" }];
  const results = await testMethod({ method, rows, config, report, checkpoint: "c", compared });
  assert.deepEqual(tests, [results]);
  assert.deepEqual(JSON.parse(JSON.stringify(results)), results, "test.json is JSON");
  assert.deepEqual(results.questions, rows.map(({ question }) => question));
  assert.deepEqual(results.speeds.map(({ speed }) => speed), [2, 5]);
  for (const { greedy, paper } of results.speeds) {
    assert.deepEqual(paper!.runs.map(({ seed }) => seed), [5, 6, 7]);
    for (const run of [greedy, ...paper!.runs]) assert.equal(run.predictions.length, 20);
    const accs = paper!.runs.map(({ acc }) => acc);
    const mean = (accs[0] + accs[1] + accs[2]) / 3;
    assert.equal(paper!.mean.acc, mean);
    const variance = accs.reduce((sum, acc) => sum + (acc - mean) ** 2, 0) / 3;
    const half = 1.96 * Math.sqrt(variance) / Math.sqrt(3);
    assert.ok(Math.abs(paper!.decode_seeds.acc - half) < 1e-12);
    assert.deepEqual(paper!.questions, wilsonInterval(mean, 20));
  }
  const [, first] = results.rows;
  assert.deepEqual(results.rows.map(({ label }) => label), [
    "cot, before training",
    "cot, speed 2",
    "cot, speed 5",
  ]);
  assert.deepEqual(first.drawn!.interval, results.speeds[0].paper!.questions);
  assert.match(lines.join("\n"), /drawn, 3 seeds[^]*cot, speed 5 +\d[^]*ms at speed 5/);
});

gpuTest("test: the published interval, and a greedy protocol without draws", async (gpu) => {
  using method = fakeMethod(gpu, { speeds: [1] });
  const rows = fakeRows(20);
  const { report } = keepingReport();
  const published = await testMethod(
    { method, rows, config: await fakeConfig("profile=released"), report },
  );
  const { mean, decode_seeds } = published.speeds[0].paper!;
  assert.deepEqual(published.rows[0].drawn!.interval, [
    mean.acc - decode_seeds.acc,
    mean.acc + decode_seeds.acc,
  ]);
  assert.equal(published.rows[0].label, "cot");
  assert.equal(published.checkpoint, null);
  const config = await fakeConfig("protocol=greedy");
  const greedy = await testMethod({ method, rows, config, report });
  assert.equal(greedy.speeds[0].paper, null);
  assert.equal(greedy.rows[0].drawn, undefined);
  const row = await startRow({ method, rows, config });
  assert.deepEqual(row, { ...greedy.rows[0], label: "cot, before training" });
});

gpuTest("test: a tolerance adds a second accuracy to each run, and a line", async (gpu) => {
  using method = fakeMethod(gpu, { speeds: [1] });
  const rows = fakeRows(4);
  // Every answer misses the right number, 100 + its row, by one.
  const missing = {
    ...method,
    answer: (questions: readonly { readonly id: number }[]) =>
      Promise.resolve(questions.map(({ id }) => ({
        output: `Answer:${101 + id}`,
        ids: [1],
        reasoningLength: 1,
      }))),
  };
  const hundreds = rows.map((row, i) => ({ ...row, answer: String(100 + i) }));
  const { report, lines } = keepingReport();
  const config = await fakeConfig("answer_tolerance=0.0098", "test_times=2");
  const test = { method: missing, rows: hundreds, config, report };
  const { speeds: [{ greedy, paper }] } = await testMethod(test);
  // One in 100 and one in 101 are more than 0.0098, one in 103 is less.
  assert.deepEqual([greedy.acc, greedy.acc_within_tolerance], [0, 0.25]);
  assert.deepEqual(paper!.runs.map((run) => run.acc_within_tolerance), [0.25, 0.25]);
  const line = "within 0.0098 of the answer at speed 1: greedy 25.0 %, drawn 25.0 %";
  assert.ok(lines.includes(line), lines.join("\n"));
});

Deno.test("table: columns line up, drawn ones only where there are any", () => {
  const score = { acc: 0.683, n_latent_forward: 11.24, interval: [0.628, 0.733] } as const;
  const all = { acc: 1, n_latent_forward: 22, interval: [0.987, 1] } as const;
  assert.equal(
    resultTable(
      [{ label: "cot", greedy: all, drawn: score }, { label: "x", greedy: score }],
      "drawn",
    ),
    [
      "     greedy                     #L  drawn                     #L",
      "cot  100.0 % (98.7 to 100.0)  22.0   68.3 % (62.8 to 73.3)  11.2",
      "x     68.3 % (62.8 to 73.3)   11.2",
    ].join("\n"),
  );
  assert.doesNotMatch(resultTable([{ label: "x", greedy: score }], "drawn"), /drawn/);
});
