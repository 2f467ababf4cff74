/**
 * Draws a log of JSON lines as an SVG, with vega-lite.
 *
 *   ./denow run --allow-read=. --allow-write=experiments --allow-env experiments/plot.ts \
 *     experiments/pretrain_nano.jsonl step loss,heldOut "Pretraining of the embedded model"
 *
 * writes experiments/pretrain_nano.svg. Lines `a,b` share a panel, `a/b` have one each; a number behind the title draws
 * the mean of so many points up to each instead of the points:
 *
 *   ./denow run --allow-read=. --allow-write=experiments --allow-env experiments/plot.ts \
 *     experiments/reinforcement_nano.jsonl step reward/n_latent_forward "Reinforcement on the embedded model" 8
 */
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";

const [file, x, ys, title, window = "1"] = Deno.args;
if (!file || !x || !ys || !(Number(window) >= 1)) {
  console.error(
    "plot.ts: needs a .jsonl file, the key of the x axis, and keys of lines: a,b or a/b; then a title and a number",
  );
  Deno.exit(2);
}
const rows = (await Deno.readTextFile(file)).trim().split("\n").map((line) => JSON.parse(line));
const panels = ys.split("/").map((keys) => keys.split(","));
const values = panels.flat().flatMap((line) => {
  const points = rows.filter((row) => row[line] !== undefined);
  return points.map((row, i) => {
    const last = points.slice(Math.max(0, i + 1 - Number(window)), i + 1);
    const mean = last.reduce((sum, point) => sum + point[line], 0) / last.length;
    return { [x]: row[x], value: mean, line };
  });
});
const spec: TopLevelSpec = {
  title: title ?? file,
  data: { values },
  vconcat: panels.map((lines) => ({
    width: 560,
    height: 280 / panels.length,
    transform: [{ filter: { field: "line", oneOf: lines } }],
    mark: { type: "line", point: { size: 12 } },
    encoding: {
      x: { field: x, type: "quantitative" },
      y: {
        field: "value",
        type: "quantitative",
        title: lines.join(", "),
        scale: { zero: panels.length === 1 },
      },
      color: { field: "line", type: "nominal", title: null },
    },
  })),
};
const svg = await new View(parse(compile(spec).spec), { renderer: "none" }).toSVG();
await Deno.writeTextFile(file.replace(/\.jsonl$/, ".svg"), svg + "\n");
