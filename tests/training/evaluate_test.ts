/** Evaluation: independent of batches but where published otherwise, and able to stop. */
import assert from "node:assert/strict";
import { TooLongError } from "../../llm/positions.ts";
import { evaluate, metricName } from "../../training/evaluate.ts";
import { gpuTest } from "../check_op.ts";
import { fakeConfig, fakeMethod, fakeRows } from "./fake_method.ts";

const rows = fakeRows(23);
const answering = { speed: 2, greedy: false, seed: 1 } as const;

gpuTest("evaluate: no result depends on val_batch_size", async (gpu) => {
  using method = fakeMethod(gpu);
  const all = [];
  for (const size of [1, 4, 23, 100]) {
    const config = await fakeConfig(`val_batch_size=${size}`);
    const { metrics, predictions } = await evaluate(method, { rows, config, ...answering });
    all.push({ metrics, predictions });
  }
  for (const other of all) assert.deepEqual(other, all[0]);
  const [{ metrics, predictions }] = all;
  assert.deepEqual(predictions.map(({ index }) => index), rows.map((_, i) => i));
  const right = predictions.filter(({ acc }) => acc === 1).length;
  assert.ok(right > 0 && right < 23, `${right} right`);
  assert.equal(metrics.acc, right / 23);
  assert.equal(metrics.output_length, 3);
});

gpuTest("evaluate: as released #L on correct answers averages each batch's ratio", async (gpu) => {
  using method = fakeMethod(gpu);
  const config = await fakeConfig("profile=released", "val_batch_size=4");
  const { metrics, predictions } = await evaluate(method, { rows, config, ...answering });
  const ratios = [0, 4, 8, 12, 16, 20].map((first) => {
    const right = predictions.slice(first, first + 4).filter(({ acc }) => acc === 1);
    const sum = right.reduce((total, { n_latent_forward }) => total + n_latent_forward, 0);
    return sum / (right.length + 1e-8);
  });
  const expected = ratios.reduce((a, b) => a + b) / 6;
  assert.ok(Math.abs(metrics.n_latent_forward_on_acc - expected) < 1e-12);
});

gpuTest("evaluate: an aborted signal ends it between two batches", async (gpu) => {
  using method = fakeMethod(gpu);
  const config = await fakeConfig("val_batch_size=4");
  const controller = new AbortController();
  const answered: number[] = [];
  const onProgress = (count: number) => {
    answered.push(count);
    if (count === 8) controller.abort();
  };
  const options = { rows, config, ...answering, onProgress, signal: controller.signal };
  await assert.rejects(evaluate(method, options), { name: "AbortError" });
  assert.deepEqual(answered, [4, 8]);
});

gpuTest("evaluate: no rows, or too few answers, are named", async (gpu) => {
  using method = fakeMethod(gpu);
  const config = await fakeConfig();
  await assert.rejects(evaluate(method, { rows: [], config, ...answering }), {
    message: "metrics: no predictions; a test needs at least one row",
  });
  const short = { ...method, answer: () => Promise.resolve([]) };
  await assert.rejects(evaluate(short, { rows, config, ...answering }), {
    name: "RangeError",
    message: "answer() gave 0 answers to 23 questions; it must give one each",
  });
});

gpuTest("evaluate: a question that the model cannot place is named by its row", async (gpu) => {
  using method = fakeMethod(gpu);
  const config = await fakeConfig("val_batch_size=4");
  const answer: typeof method.answer = (questions, options) => {
    const at = questions.findIndex(({ id }) => id === 14);
    if (at >= 0) throw new TooLongError(at, questions.length, "is too long");
    return method.answer(questions, options);
  };
  await assert.rejects(evaluate({ ...method, answer }, { rows, config, ...answering }), {
    name: "RangeError",
    message: "question 14 is too long",
  });
});

Deno.test("evaluate: the monitored speed's numbers have the plain names", () => {
  assert.equal(metricName("acc", 2, 2), "acc");
  assert.equal(metricName("acc", "auto", 2), "acc_speedauto");
});
