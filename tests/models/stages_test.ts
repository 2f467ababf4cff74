/** Stages: the three rules, shares of the run, what they refuse, and the text that is left. */
import assert from "node:assert/strict";
import { checkStages, stageAt, stagedFollowing, type StageOptions } from "../../models/stages.ts";
import { methodsTokenizer } from "../methods_text.ts";
import { CORRECTED } from "./tiny_stages.ts";

const numbers = (options: StageOptions, count: number) =>
  Array.from({ length: count }, (_, epoch) => stageAt(options, { epoch, progress: 0 }).number);

Deno.test("stages: as intended each lasts n epochs, as released one", () => {
  const two = { ...CORRECTED, n_epochs_per_stage: 2 };
  assert.deepEqual(numbers(two, 8), [1, 1, 2, 2, 3, 3, 3, 3]);
  assert.deepEqual(numbers({ ...two, stage_rule: "as-released" }, 5), [1, 2, 3, 3, 3]);
});

Deno.test("stages: Coconut's own begins with CoT and removes all steps after the last stage", () => {
  const official: StageOptions = { ...CORRECTED, stage_rule: "official", n_epochs_per_stage: 3 };
  const six = { ...official, n_initial_epochs: 6 };
  assert.deepEqual(numbers(six, 17), [...[0, 0, 0, 0, 0, 0], 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]);
  const at = (epoch: number) => stageAt(six, { epoch, progress: 0 });
  assert.deepEqual(at(0), { number: 0, numRemoved: 0, numReplaced: 0 });
  assert.deepEqual(at(14), { number: 3, numRemoved: 3, numReplaced: 3 });
  assert.deepEqual(at(40), { number: 4, numRemoved: Infinity, numReplaced: 3 });
});

Deno.test("stages: with the other rules the last stage has no steps", () => {
  const at = (epoch: number) => stageAt(CORRECTED, { epoch, progress: 0 });
  assert.deepEqual(at(1), { number: 2, numRemoved: 2, numReplaced: 2 });
  assert.deepEqual(at(2), { number: 3, numRemoved: Infinity, numReplaced: 3 });
});

Deno.test("stages: ends count shares of the run, whatever the epoch", () => {
  const options: StageOptions = { ...CORRECTED, stage_rule: "official", stage_ends: [0.2, 0.4] };
  const at = (step: number) => stageAt(options, { epoch: 9, progress: step / 2000 });
  assert.deepEqual([0, 399, 400, 799, 800, 1999].map((step) => at(step).number), [
    1,
    1,
    2,
    2,
    3,
    3,
  ]);
  assert.equal(at(800).numRemoved, Infinity);
});

Deno.test("stages: ends that do not fit are refused", () => {
  checkStages(CORRECTED);
  checkStages({ ...CORRECTED, stage_ends: [0.2, 0.4] });
  for (const stage_ends of [[0.2], [0.4, 0.2], [0.2, 0.2], [0.2, 1], [0, 0.5]]) {
    assert.throws(() => checkStages({ ...CORRECTED, stage_ends }), {
      name: "RangeError",
      message: "stage_ends must be 2 rising shares of the run between 0 and 1, one less than " +
        `max_n_stage, got [${stage_ends.join(", ")}]`,
    });
  }
});

Deno.test("stages: the first steps are gone, and ### closes what is left", async () => {
  const tokenizer = await methodsTokenizer();
  const row = { question: "q", steps: ["<<1+1=2>>", "<<2*3=6>>"], answer: "6" };
  for (const newline of [true, false]) {
    const [first, second, last] = [0, 1, 2].map((epoch) =>
      stagedFollowing(tokenizer, row, stageAt(CORRECTED, { epoch, progress: 0 }), newline)
    );
    assert.deepEqual(first.steps, tokenizer.encode(`<<2*3=6>>${newline ? "\n" : ""}###`));
    assert.deepEqual(last.steps, tokenizer.encode(newline ? "\n###" : "###"));
    assert.deepEqual(second, last, "no step is left after two");
    assert.deepEqual(last.answer, tokenizer.encode(`Answer:6${tokenizer.eosToken}`));
  }
});
