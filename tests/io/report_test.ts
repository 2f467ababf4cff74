/** What a command tells: on the screen, in the log, or on neither; and results of an earlier test. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { readTestResults, Report } from "../../io/report.ts";
import { noLog } from "../../io/run_log.ts";
import { captured } from "../training/tiny_model.ts";

Deno.test("report: lines are printed and logged, shown ones printed only, quiet ones logged only", async () => {
  const logged: string[] = [];
  const log = { ...noLog, line: (text: string) => void logged.push(text) };
  const { out } = await captured(async () => {
    const report = new Report(log);
    report.line("a");
    report.show("b");
    const quiet = new Report(log, true);
    quiet.line("c");
    quiet.show("d");
    const result = await quiet.progress({ label: "work", total: 2 }, (bar) => {
      bar.update(1);
      quiet.line("e");
      return Promise.resolve(3);
    });
    assert.equal(result, 3);
  });
  assert.equal(out, "a\nb");
  assert.deepEqual(logged, ["a", "c", "e"]);
});

Deno.test("report: results of a test, or nothing where there are none to be read", async () => {
  const folder = await Deno.makeTempDir();
  try {
    assert.equal(await readTestResults(folder), undefined);
    await Deno.writeTextFile(join(folder, "test.json"), '{"rows": []}');
    assert.deepEqual(await readTestResults(folder), { rows: [] });
    await Deno.writeTextFile(join(folder, "test.json"), '{"rows');
    assert.equal(await readTestResults(folder), undefined);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
