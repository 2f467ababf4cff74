/**
 * The script of a report's page: draws the curves and the accuracies, and filters the table of questions.
 *
 * It runs in the browser, after vega and vega-lite, on the data that report_data.ts describes. Texts of models and data
 * sets become text nodes only. The address may name the filter, as in report.html#text=apples&verdict=wrong. When all is
 * drawn, the page's body has data-state="drawn".
 */
const runs = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const ROWS_AT_ONCE = 200;

globalThis.addEventListener("error", ({ message }) => showFault(message));
globalThis.addEventListener("unhandledrejection", ({ reason }) => showFault(String(reason)));

function showFault(message) {
  document.body.dataset.state = "fault";
  find("fault").textContent = `The page's script failed: ${message}`;
  find("fault").hidden = false;
}

/** An element with a text and a class. */
function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** A table of rows of cells, each a text or [text, class]. */
function fillTable(table, head, rows) {
  const line = (tag, cells) => {
    const row = element("tr");
    row.append(...cells.map((cell) => element(tag, ...[cell].flat())));
    return row;
  };
  table.replaceChildren(line("th", head), ...rows.map((row) => line("td", row)));
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const number = (value) => [String(value), "number"];

/** Each run has one colour in every chart; the legend picks runs. */
const shared = {
  $schema: "https://vega.github.io/schema/vega-lite/v6.json",
  background: "white",
  config: { legend: { labelLimit: 400 } },
};
const color = {
  field: "run",
  type: "nominal",
  title: null,
  scale: {
    domain: runs.map(({ name }) => name),
    scheme: runs.length > 10 ? "tableau20" : "tableau10",
  },
  legend: { orient: "bottom", columns: 2 },
};
const params = [{ name: "picked", select: { type: "point", fields: ["run"] }, bind: "legend" }];

/** Draws a vega-lite chart in place of what is in `parent`. */
async function draw(parent, spec) {
  const place = element("div");
  parent.append(place);
  const view = new vega.View(vega.parse(vegaLite.compile({ ...shared, ...spec }).spec));
  await view.renderer("svg").initialize(place).hover().runAsync();
}

/** The mean of up to `size` points up to each. */
function smoothed(values, size) {
  return values.map((_, i) => {
    const last = values.slice(Math.max(0, i + 1 - size), i + 1);
    return last.reduce((sum, value) => sum + value, 0) / last.length;
  });
}

function curveChart(metric, size) {
  const withIt = runs.filter(({ curves }) => Object.hasOwn(curves, metric));
  const values = withIt.flatMap(({ name: run, curves }) => {
    const { steps } = curves[metric];
    return smoothed(curves[metric].values, size).map((value, i) => ({
      run,
      step: steps[i],
      value,
    }));
  });
  const isSparse = withIt.every(({ curves }) => curves[metric].steps.length <= 30);
  const meanOf = Math.max(...withIt.map(({ curves }) => curves[metric].mean_of));
  return {
    title: meanOf > 1 ? `${metric} (means of up to ${meanOf} steps)` : metric,
    width: 480,
    height: 220,
    data: { values },
    params,
    mark: { type: "line", point: isSparse, tooltip: true },
    encoding: {
      x: { field: "step", type: "quantitative" },
      y: { field: "value", type: "quantitative", title: null, scale: { zero: false } },
      color,
      opacity: { condition: { param: "picked", value: 1 }, value: 0.12 },
    },
  };
}

function accuracyChart() {
  const values = runs.flatMap(({ name: run, scores }) =>
    scores.map(({ interval: [low, high], ...score }) => ({ run, low, high, ...score }))
  );
  const x = {
    field: "n_latent_forward",
    type: "quantitative",
    title: "#L",
    scale: { zero: false },
  };
  const y = { type: "quantitative", title: "accuracy", axis: { format: "%" } };
  const opacity = {
    condition: { test: { and: [{ param: "picked" }, "datum.is_own"] }, value: 1 },
    value: 0.25,
  };
  return {
    width: 640,
    height: 360,
    data: { values },
    layer: [
      {
        mark: { type: "rule" },
        encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color, opacity },
      },
      {
        params,
        mark: { type: "point", filled: true, size: 70 },
        encoding: {
          x,
          y: { ...y, field: "acc" },
          color,
          opacity,
          shape: { field: "kind", type: "nominal", title: null, legend: { orient: "bottom" } },
          tooltip: ["run", "label", "kind", "acc", "n_latent_forward"].map((field) => ({ field })),
        },
      },
    ],
  };
}

/** All metrics, those first that say how a run goes. */
function metricNames() {
  const first = ["loss", "val/acc", "reward", "acc", "val/n_latent_forward", "n_latent_forward"];
  const all = new Set(runs.flatMap(({ curves }) => Object.keys(curves)));
  const shown = first.filter((name) => all.has(name));
  return { shown, all: [...shown, ...[...all].filter((name) => !first.includes(name)).sort()] };
}

let round = 0;

async function drawCurves() {
  const mine = ++round; // a change while charts are drawn begins them anew
  const boxes = [...find("metrics").querySelectorAll("input:checked")];
  const size = Math.max(1, Math.floor(Number(find("window").value)) || 1);
  find("curves").replaceChildren();
  for (const { value } of boxes) {
    await draw(find("curves"), curveChart(value, size));
    if (mine !== round) return;
  }
}

function offerMetrics() {
  const { shown, all } = metricNames();
  find("metrics").append(...all.map((name) => {
    const box = element("input");
    Object.assign(box, { type: "checkbox", value: name, checked: shown.includes(name) });
    const label = element("label");
    label.append(box, ` ${name}`);
    return label;
  }));
  find("metrics").addEventListener("change", drawCurves);
  find("window").addEventListener("change", drawCurves);
}

/** Every answer with what it is found by. */
const answers = runs.flatMap(({ name, questions, answers }) =>
  answers.map((answer) => {
    const question = questions[answer.index] ?? "";
    const texts = [question, answer.output_string, answer.pred_answer, answer.answer];
    return { ...answer, run: name, question, found: texts.join("\n").toLowerCase() };
  })
);
let numShown = ROWS_AT_ONCE;

function showAnswers() {
  const [text, run, speed, verdict] = ["text", "run", "speed", "verdict"].map((id) =>
    find(id).value
  );
  const matching = answers.filter((answer) =>
    answer.found.includes(text.toLowerCase()) && (!run || answer.run === run) &&
    (!speed || String(answer.speed) === speed) &&
    (!verdict || (answer.acc === 1) === (verdict === "right"))
  );
  const numRight = matching.filter(({ acc }) => acc === 1).length;
  find("count").textContent = `${matching.length} of ${answers.length} answers, ${numRight} right`;
  find("more").hidden = matching.length <= numShown;
  const head = [
    ...["run", "speed", "row", "question", "output", "prediction", "answer", "latents used"],
    ...["right or wrong", "drawn"],
  ];
  fillTable(
    find("questions"),
    head,
    matching.slice(0, numShown).map((answer) => [
      answer.run,
      number(answer.speed),
      number(answer.index),
      [answer.question, "text"],
      [answer.output_string, "text"],
      answer.pred_answer,
      answer.answer,
      number(answer.n_latent_forward),
      answer.acc === 1 ? ["right", "right"] : ["wrong", "wrong"],
      answer.drawn ? `${answer.drawn[0]} of ${answer.drawn[1]}` : "",
    ]),
  );
}

function offerFilters() {
  const offered = {
    run: runs.filter(({ answers }) => answers.length > 0).map(({ name }) => name),
    speed: [...new Set(answers.map(({ speed }) => String(speed)))],
    verdict: ["right", "wrong"],
  };
  for (const [id, values] of Object.entries(offered)) {
    find(id).append(...["", ...values].map((value) => {
      const option = element("option", value || "all");
      option.value = value;
      return option;
    }));
  }
  for (const [id, value] of new URLSearchParams(location.hash.slice(1))) {
    if (id === "text" || offered[id]?.includes(value)) find(id).value = value;
  }
  const restart = () => {
    numShown = ROWS_AT_ONCE;
    showAnswers();
  };
  for (const id of ["text", ...Object.keys(offered)]) find(id).addEventListener("input", restart);
  find("more").addEventListener("click", () => {
    numShown += ROWS_AT_ONCE;
    showAnswers();
  });
}

fillTable(
  find("runs"),
  ["run", "steps", "answers", "notes"],
  runs.map(({ name, steps, answers, notes }) => [
    name,
    number(steps),
    number(answers.length),
    [notes.join("; "), "note"],
  ]),
);
fillTable(
  find("scores"),
  ["run", "model", "decoding", "accuracy", "95 % interval", "#L"],
  runs.flatMap(({ name, scores }) =>
    scores.map(({ label, kind, acc, interval: [low, high], n_latent_forward }) => [
      ...[name, label, kind, number(percent(acc)), `${percent(low)} to ${percent(high)}`],
      number(n_latent_forward.toFixed(1)),
    ])
  ),
);
offerMetrics();
offerFilters();
showAnswers();
drawCurves()
  .then(() =>
    runs.some(({ scores }) => scores.length > 0) && draw(find("accuracy"), accuracyChart())
  )
  .then(() => document.body.dataset.state = "drawn");
