/**
 * Draws a log of JSON lines as an SVG beside it, with vega-lite: each key a panel, or several that share one.
 *
 *   ./denow run --allow-read=. --allow-write=experiments --allow-env experiments/plot.ts \
 *     experiments/pretrain_nano.jsonl step loss,heldOut --title="Pretraining of the embedded model"
 *
 * writes experiments/pretrain_nano.svg. --mean=16 draws, at every point, the mean over the last 16 of x; --by=KEY draws a
 * line for each value of that key:
 *
 *   ./denow run --allow-read=. --allow-write=experiments --allow-env experiments/plot.ts \
 *     experiments/reinforcement_nano.jsonl step reward val/acc n_latent_forward --mean=16 --by=run \
 *     --title="Reinforcement on the embedded model"
 */
import { parseArgs } from "node:util";
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";

const { positionals, values: options } = parseArgs({
  allowPositionals: true,
  options: {
    title: { type: "string" },
    mean: { type: "string", default: "0" },
    by: { type: "string" },
  },
});
const [file, x] = positionals;
const panels = positionals.slice(2).map((keys) => keys.split(","));
const span = Number(options.mean);
if (!file?.endsWith(".jsonl") || panels.length === 0 || !(span >= 0)) {
  console.error(
    "plot.ts: needs a .jsonl file, the key of the x axis and keys of panels: a b,c; --mean is a number of x",
  );
  Deno.exit(2);
}
const rows = (await Deno.readTextFile(file)).trim().split("\n").map((line) => JSON.parse(line));
const { by } = options;
const values = panels.flat().flatMap((key) => {
  const points = rows.filter((row) => row[key] !== undefined);
  return points.map((point) => {
    const line = by ? `${point[by]}` : key;
    const last = points.filter((other) =>
      (!by || other[by] === point[by]) && other[x] <= point[x] &&
      (other === point || other[x] > point[x] - span)
    );
    const value = last.reduce((sum, other) => sum + other[key], 0) / last.length;
    return { x: point[x], value, key, line };
  });
});
const spec: TopLevelSpec = {
  title: options.title ?? file,
  data: { values },
  vconcat: panels.map((keys) => ({
    width: 560,
    height: panels.length === 1 ? 280 : 140,
    transform: [{ filter: { field: "key", oneOf: keys } }],
    mark: {
      type: "line",
      point: values.filter(({ key }) => keys.includes(key)).length <= 300 && { size: 12 },
    },
    encoding: {
      x: { field: "x", type: "quantitative", title: x },
      y: {
        field: "value",
        type: "quantitative",
        title: keys.join(", "),
        scale: { zero: panels.length === 1 },
      },
      color: { field: "line", type: "nominal", title: null },
    },
  })),
};
const svg = await new View(parse(compile(spec).spec), { renderer: "none" }).toSVG();
await Deno.writeTextFile(file.replace(/\.jsonl$/, ".svg"), svg + "\n");
