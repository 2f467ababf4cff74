/**
 * Draws a log of JSON lines as an SVG, with vega-lite.
 *
 *   ./denow run --allow-read=. --allow-write=experiments --allow-env experiments/plot.ts \
 *     experiments/pretrain_nano.jsonl step loss,heldOut "Pretraining of the embedded model"
 *
 * writes experiments/pretrain_nano.svg.
 */
import { parse, View } from "vega";
import { compile } from "vega-lite";

const [file, x, ys, title] = Deno.args;
if (!file || !x || !ys) {
  console.error("plot.ts: needs a .jsonl file, the key of the x axis, and keys of lines: a,b,c");
  Deno.exit(2);
}
const rows = (await Deno.readTextFile(file)).trim().split("\n").map((line) => JSON.parse(line));
const values = rows.flatMap((row) =>
  ys.split(",").filter((key) => row[key] !== undefined)
    .map((line) => ({ [x]: row[x], value: row[line], line }))
);
const { spec } = compile({
  title: title ?? file,
  width: 560,
  height: 280,
  data: { values },
  mark: { type: "line", point: { size: 12 } },
  encoding: {
    x: { field: x, type: "quantitative" },
    y: { field: "value", type: "quantitative", title: ys },
    color: { field: "line", type: "nominal", title: null },
  },
});
const svg = await new View(parse(spec), { renderer: "none" }).toSVG();
await Deno.writeTextFile(file.replace(/\.jsonl$/, ".svg"), svg + "\n");
