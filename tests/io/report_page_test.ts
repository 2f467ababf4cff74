/** A report's page: that it is whole, holds its data as they are, loads nothing, and takes no text for its own. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { parse } from "vega";
import { compile } from "vega-lite";
import { readRuns } from "../../io/report_data.ts";
import { reportPage, writeReport } from "../../io/report_page.ts";
import { main } from "../../main.ts";
import { captured } from "../training/tiny_model.ts";
import { inRuns, TEST, writeRun } from "./report_runs.ts";

const SCRIPT = new URL("../../io/report_page.js", import.meta.url);
const TRAIN = '{"step":1,"loss":2.5}\n{"step":2,"loss":2}\n';

/** The page's script elements, as HTML ends them: attributes and contents. */
const scripts = (page: string) =>
  [...page.matchAll(/<script([^>]*)>([\s\S]*?)<\/script/gi)].map(([, ...parts]) => parts);

Deno.test("report page: libraries, data and script, and nothing to load", () =>
  inRuns(async (parent) => {
    const runs = await readRuns([await writeRun(parent, "a", { train: TRAIN, test: TEST })]);
    const page = await reportPage(runs);
    const found = scripts(page);
    const [vega, vegaLite, data, script] = found;
    assert.equal(found.length, 4, "a text ends a script element");
    for (const [attributes, code] of [vega, vegaLite]) {
      assert.equal(attributes, "");
      assert.match(code, /^\/\* vega[\s\S]*Redistribution and use[\s\S]*\*\//, "licence");
    }
    assert.deepEqual(JSON.parse(data[1]), runs);
    assert.ok(!data[1].includes("<"));
    assert.equal(script[1].trim(), (await Deno.readTextFile(SCRIPT)).trim());
    const own = page.replace(vega[1], "").replace(vegaLite[1], "");
    assert.ok(!/<!-- \w+ -->/.test(own), "a place that was not filled");
    assert.ok(!/\b(src|href)=|@import|url\(/.test(own), "it loads something");
    assert.match(own, /default-src 'none'/);
    for (const [, code] of [vega, vegaLite, script]) new Function(code); // it parses
  }));

Deno.test("report page: its charts compile without a warning", async () => {
  // The script's charts, on a page that is not there: only what it asks of the document is made up.
  const specs: unknown[] = [];
  await inRuns(async (parent) => {
    const [run] = await readRuns([await writeRun(parent, "a", { train: TRAIN, test: TEST })]);
    const script = await Deno.readTextFile(SCRIPT);
    const until = script.indexOf("/** All metrics");
    const make = new Function(
      "document",
      `${script.slice(0, until)}; return [curveChart("loss", 1), accuracyChart()];`,
    );
    specs.push(...make({ getElementById: () => ({ textContent: JSON.stringify([run]) }) }));
  });
  assert.equal(specs.length, 2);
  const warnings: unknown[] = [];
  const logger = {
    level: () => logger,
    ...{ error: warn, warn, info: () => logger, debug: () => logger },
  };
  function warn(...words: unknown[]) {
    warnings.push(words);
    return logger;
  }
  for (const spec of specs) {
    // deno-lint-ignore no-explicit-any -- made by a script without types
    parse(compile(spec as any, { logger: logger as any }).spec);
  }
  assert.deepEqual(warnings, []);
});

Deno.test("main.ts report: a page in the first run's folder, and its notes", () =>
  inRuns(async (parent) => {
    const [a, b] = [
      await writeRun(parent, "a", { train: TRAIN, test: TEST }),
      await writeRun(parent, "b", { train: TRAIN }),
    ];
    const { result, out, errors } = await captured(() => main(["report", a, b]));
    assert.deepEqual([result, errors], [0, ""]);
    assert.equal(out, `b: it was not tested\nreport of 2 runs: ${join(a, "report.html")}`);
    assert.match(await Deno.readTextFile(join(a, "report.html")), /^<!DOCTYPE html>/);
  }));

Deno.test("report page: a place that cannot be written is told in a line", () =>
  inRuns(async (parent) => {
    const path = join(parent, "none", "report.html");
    await assert.rejects(writeReport(path, []), (error: Error) => {
      assert.ok(error.message.startsWith(`cannot write ${JSON.stringify(path)}: `));
      assert.match(error.message, /; name a file that can be written with --out$/);
      return true;
    });
  }));
