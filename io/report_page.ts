/**
 * A report of runs as one HTML file, which needs no network: data, script and the drawing library are in it.
 *
 * The library is vega-lite over vega as npm ships them for browsers (BSD 3-Clause, their licences go along), beside the
 * files that the packages export. Texts come from models and data sets, so the page's script only ever sets them as
 * text, the data are JSON without `<`, and the page's own policy forbids it to load anything.
 */
import { reasonOf, writeAtomic } from "./atomic.ts";
import { quote } from "./safetensors_header.ts";
import type { ReportRun } from "./report_data.ts";
import template from "./report_page.html" with { type: "text" };
import script from "./report_page.js" with { type: "text" };

/**
 * The page.
 * @returns HTML
 * @throws {Error} where the drawing library is not installed.
 */
export async function reportPage(runs: readonly ReportRun[]): Promise<string> {
  const parts: Record<string, string> = {
    libraries: (await Promise.all(["vega", "vega-lite"].map(library))).join("\n"),
    data: `<script type="application/json" id="data">${jsonInHtml(runs)}</script>`,
    script: `<script>\n${script}</script>`,
  };
  return template.replace(/<!-- (\w+) -->/g, (_, name) => parts[name]);
}

/**
 * Writes a report.
 * @throws {Error} when the file cannot be written.
 */
export async function writeReport(path: string, runs: readonly ReportRun[]): Promise<void> {
  const page = await reportPage(runs);
  try {
    await writeAtomic(path, page);
  } catch (error) {
    const next = "name a file that can be written with --out";
    throw new Error(`cannot write ${quote(path)}: ${reasonOf(error)}; ${next}`, { cause: error });
  }
}

/** JSON that a script element may hold: no text in it can end the element or begin a comment. */
function jsonInHtml(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c");
}

/** A package's browser build in a script element, its licence before it. */
async function library(name: string): Promise<string> {
  const [licence, code] = await Promise.all(
    ["../LICENSE", `./${name}.min.js`].map(async (file) => {
      const url = new URL(file, import.meta.resolve(name));
      return await Deno.readTextFile(url);
    }),
  );
  // `<\/script` is the same to JavaScript, in strings and expressions, and nothing to HTML.
  return `<script>/* ${name}\n${licence}*/\n${code.replaceAll(/<\/(?=script)/gi, "<\\/")}</script>`;
}
