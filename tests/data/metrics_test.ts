/** Metrics against the published evaluation, and both intervals against known values. */
import assert from "node:assert/strict";
import {
  mean,
  meanMetrics,
  paperInterval,
  type Prediction,
  scoreOutput,
  wilsonInterval,
} from "../../data/metrics.ts";
import { parseQsa } from "../../data/qsa.ts";
import { golden, methodsTokenizer } from "../methods_text.ts";

interface Evaluation {
  config: { n_latent_forward: number[]; outputs: string[] };
  metrics: Record<string, number>;
  per_row: {
    pred_answer: string[];
    output_string: string[];
    output_length: number[];
    n_latent_forward: number[];
    acc: number[];
  };
  replications: { values: number[]; mean: number; interval: number };
  pred_ids: number[][];
}

const evaluation = await golden<Evaluation>("evaluation");

async function predictions(): Promise<Prediction[]> {
  const tokenizer = await methodsTokenizer();
  const rows = parseQsa(await golden("rows"), "rows.json");
  return rows.map(({ answer }, row) => {
    const ids = evaluation.pred_ids[row].filter((id) => id !== tokenizer.padId);
    return scoreOutput(row, answer, tokenizer.decode(ids), {
      n_latent_forward: evaluation.config.n_latent_forward[row],
      output_length: ids.length,
    });
  });
}

Deno.test("metrics: every row and mean of the published evaluation", async () => {
  const scored = await predictions();
  const { per_row, metrics, config } = evaluation;
  for (const key of Object.keys(per_row) as (keyof typeof per_row)[]) {
    assert.deepEqual(scored.map((prediction) => prediction[key]), per_row[key], key);
  }
  assert.deepEqual(scored.map((prediction) => prediction.output_string), config.outputs);
  const means = meanMetrics(scored, "released");
  assert.deepEqual({ monitor: means.acc, ...prefixed(means) }, metrics);
});

const prefixed = (metrics: object) =>
  Object.fromEntries(Object.entries(metrics).map(([key, value]) => [`test/${key}`, value]));

Deno.test("metrics: corrected divides by the number of right answers, and by nothing without one", async () => {
  const scored = await predictions();
  assert.equal(meanMetrics(scored).n_latent_forward_on_acc, 10 / 3);
  const wrong = scored.filter((prediction) => prediction.acc === 0);
  assert.equal(meanMetrics(wrong).n_latent_forward_on_acc, 0);
  assert.equal(meanMetrics(wrong).acc, 0);
  assert.throws(() => meanMetrics([]), {
    name: "RangeError",
    message: "metrics: no predictions; a test needs at least one row",
  });
});

Deno.test("metrics: the paper's interval of the published replications", () => {
  const { values, mean: center, interval } = evaluation.replications;
  assert.equal(mean(values), center);
  assert.ok(Math.abs(paperInterval(values) - interval) < 1e-15);
  assert.equal(paperInterval([0.4]), 0);
});

Deno.test("metrics: Wilson's interval", () => {
  // Solutions of (p - x)^2 = z^2 p (1 - p) / n, the definition.
  for (const [x, n] of [[0.5, 10], [0.264, 1319], [0.9, 1], [0, 300], [1, 300]]) {
    const [low, high] = wilsonInterval(x, n);
    for (const p of [low, high]) {
      const distance = (p - x) ** 2 - 3.841458820694124 * p * (1 - p) / n;
      assert.ok(Math.abs(distance) < 1e-12, `${x} of ${n}: ${p}`);
    }
    assert.ok(low <= x && x <= high && low >= 0 && high <= 1);
  }
  assert.equal(wilsonInterval(0, 300)[0], 0);
  assert.equal(wilsonInterval(1, 300)[1], 1);
  assert.throws(() => wilsonInterval(1.5, 10), {
    name: "RangeError",
    message:
      "wilsonInterval: accuracy must be from 0 to 1 over at least one question, got 1.5 over 10",
  });
  assert.throws(() => wilsonInterval(NaN, 0), { name: "RangeError" });
});
