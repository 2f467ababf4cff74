/** Makes one HTML page out of runs. */
import { join } from "node:path";
import { readRuns } from "../io/report_data.ts";
import { writeReport } from "../io/report_page.ts";
import type { Command } from "./command.ts";

/** The command. */
export const report: Command = {
  help: "one HTML page of runs: curves, accuracy against #L, every question",
  options: {
    out: { value: "FILE", help: "the page (report.html in the first run's folder)" },
  },
  takesPaths: "RUN",
  run: async ({ text, settings: folders }) => {
    if (folders.length === 0) {
      throw new RangeError("report needs folders of runs, as in logs/colar/arith/*; see --help");
    }
    const out = text.out ?? join(folders[0], "report.html");
    const runs = await readRuns(folders);
    await writeReport(out, runs);
    for (const { name, notes } of runs) {
      for (const note of notes) console.log(`${name}: ${note}`);
    }
    console.log(`report of ${runs.length} ${runs.length === 1 ? "run" : "runs"}: ${out}`);
    return 0;
  },
};
