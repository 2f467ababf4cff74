/** The experiment on a real model, on a tiny one: every step is logged, and the last line sums up what the others say. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { arithRows } from "../../data/arith.ts";
import { type Line, smollm2OnGsm8k } from "../../experiments/smollm2_gsm8k.ts";
import { gpuTest } from "../check_op.ts";
import { inWorkspace } from "../training/tiny_model.ts";

const STEPS = 12;

gpuTest("smollm2_gsm8k: losses, costs and answers of a tiny model", async (gpu) => {
  await inWorkspace(gpu, async (workspace, model) => {
    const data = join(workspace, "data");
    await Deno.mkdir(data);
    for (const split of ["train", "val", "test"] as const) {
      const rows = arithRows({ split, count: 20 });
      await Deno.writeTextFile(join(data, `${split}.json`), JSON.stringify(rows));
    }
    const lines: Line[] = [];
    const options = {
      ...{ model, data, steps: STEPS, questions: 3 },
      settings: ["lp_intermediate_size=8", "lr=1e-2", "r=4"],
    };
    const summary = await smollm2OnGsm8k(gpu, options, (line) => lines.push(line));
    assert.equal(lines.length, STEPS + 2);
    const [about, ...rest] = lines;
    assert.equal(about.model, "tiny");
    assert.equal(rest.pop(), summary);
    assert.deepEqual(rest.map(({ step }) => step), Array.from({ length: STEPS }, (_, i) => i + 1));

    const losses = rest.map(({ loss }) => loss as number);
    const mean = (values: number[]) => values.reduce((a, b) => a + b) / values.length;
    const near = (a: unknown, b: number) =>
      assert.ok(Math.abs(a as number - b) < 2e-4, `${a} ${b}`);
    near(summary.loss_first, mean(losses.slice(0, 5)));
    near(summary.loss_last, mean(losses.slice(-5)));
    assert.equal(summary.falls, true);
    const seconds = rest.slice(1).map((line) => line.seconds as number);
    near((summary.step as Line).seconds, mean(seconds));
    const factors = new Set(rest.slice(1).map((line) => `c=${line.compression_factor}`));
    assert.deepEqual(Object.keys(summary.step_by_compression_factor as Line), [...factors].sort());
    const { questions, n_latent_forward, output_length } = summary.answers as Line;
    assert.equal(questions, 3);
    assert.ok((n_latent_forward as number) <= 8 && (output_length as number) <= 16);
    assert.ok((summary.rss_peak_gib as number) > 0.01 && (summary.pool_peak_gib as number) > 0);
  });
});
