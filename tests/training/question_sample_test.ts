/** Which questions reinforcement asks, and which it leaves out because they are always answered right. */
import assert from "node:assert/strict";
import { QuestionSample, unsolvedQuestions } from "../../training/question_sample.ts";
import { resolveConfig } from "../../io/config.ts";
import { questionSample, reinforcementOf } from "../../training/question_sample.ts";
import { quietReport } from "./fake_method.ts";

const rowsOf = (sample: QuestionSample, epoch: number) =>
  Array.from({ length: sample.length }, (_, i) => sample.row(epoch, i));

Deno.test("questions: each epoch draws its own, none twice", () => {
  const options = { numRows: 50, size: 20, seed: 1, isAnew: true };
  const sample = new QuestionSample(options);
  assert.equal(sample.length, 20);
  const epochs = [0, 1, 2].map((epoch) => rowsOf(sample, epoch));
  for (const rows of epochs) {
    assert.equal(new Set(rows).size, 20);
    assert.ok(rows.every((row) => row >= 0 && row < 50));
  }
  assert.notDeepEqual(epochs[0], epochs[1]);
  assert.deepEqual(
    rowsOf(new QuestionSample(options), 2),
    epochs[2],
    "epochs depend on nothing else",
  );
  assert.deepEqual(rowsOf(sample, 0), epochs[0]);
  assert.notDeepEqual(rowsOf(new QuestionSample({ ...options, seed: 2 }), 0), epochs[0]);
});

Deno.test("questions: as released, one draw with replacement serves the whole run", () => {
  const sample = new QuestionSample({ numRows: 30, size: 30, seed: 1, isAnew: false });
  const rows = rowsOf(sample, 0);
  assert.deepEqual(rowsOf(sample, 5), rows);
  assert.ok(new Set(rows).size < 30, "some are there twice");
});

Deno.test("questions: with fewer rows than asked for, all of them; without replacement only", () => {
  const few = { numRows: 5, size: 20, seed: 1 };
  const anew = new QuestionSample({ ...few, isAnew: true });
  assert.deepEqual(rowsOf(anew, 3).toSorted(), [0, 1, 2, 3, 4]);
  assert.equal(new QuestionSample({ ...few, isAnew: false }).length, 20);
});

Deno.test("questions: only rows that the filter kept", () => {
  const kept = [3, 8, 21, 22];
  for (const isAnew of [true, false]) {
    const sample = new QuestionSample({ numRows: 30, kept, size: 4, seed: 1, isAnew });
    assert.ok(rowsOf(sample, 1).every((row) => kept.includes(row)));
  }
});

Deno.test("questions: a configuration without do_rl samples none", async () => {
  const { config } = await resolveConfig({ model: "colar" });
  assert.equal(reinforcementOf(config), undefined);
  assert.equal(questionSample(config, 30), undefined);
  const { config: rl } = await resolveConfig({ model: "colar", overrides: ["do_rl=True"] });
  assert.equal(questionSample(rl, 30)?.length, 30);
  assert.equal(questionSample(rl, 3000)?.length, 512);
});

Deno.test("questions: the profile says whether each epoch has its own", async () => {
  for (const profile of ["released", "corrected"]) {
    const overrides = ["do_rl=True", `profile=${profile}`];
    const { config } = await resolveConfig({ model: "colar", overrides });
    const sample = questionSample(config, 3000)!;
    const [first, second] = [0, 1].map((epoch) => rowsOf(sample, epoch).join());
    assert.equal(first === second, profile === "released");
  }
});

Deno.test("questions: the filter drops what is always right, and says what is left", async () => {
  const rows = [0, 1, 2, 3, 4, 5, 6].map((i) => ({ question: `${i}`, steps: [], answer: "1" }));
  const { config } = await resolveConfig({
    model: "colar",
    overrides: ["do_rl=True", "group_size=4", "val_batch_size=9"],
  });
  const ids: number[] = [];
  const options = (rightOf: (question: number, sample: number) => boolean) => ({
    config,
    rl: reinforcementOf(config)!,
    policy: {
      parts: [],
      rollout: (questions: readonly string[], draw: { sampleIds: readonly number[] }) => {
        ids.push(...draw.sampleIds);
        return Promise.resolve(questions.map((question, i) => ({
          answer: {
            output: rightOf(Number(question), i % 4) ? "Answer:1" : "Answer:2",
            ids: [],
            reasoningLength: 1,
          },
        })));
      },
      logProbs: () => ({ parts: {}, numTokens: 0 }),
    },
  });
  const { report, lines } = quietReport();
  const sometimes = options((question, sample) => question !== 5 && (question !== 2 || sample > 0));
  const mixed = await unsolvedQuestions(sometimes, rows, report);
  assert.deepEqual(mixed, [2, 5], "sample 0 of question 2 is wrong, all of question 5");
  assert.deepEqual(lines, ["filter_dataset keeps 2 of 7 training questions"]);
  assert.equal(new Set(ids).size, 28, "each sample has its own draws");
  await assert.rejects(unsolvedQuestions(options(() => true), rows, report), {
    name: "RangeError",
    message:
      "filter_dataset: all 7 training questions are always answered right, nothing is left to learn; " +
      "set filter_dataset=False, or dataset_name to harder ones",
  });
  const signal = AbortSignal.abort();
  const stopped = await unsolvedQuestions({ ...options(() => true), signal }, rows, report);
  assert.equal(stopped, undefined);
});
