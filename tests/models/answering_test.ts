/** From what an answer's tokens are drawn, as each profile says. */
import assert from "node:assert/strict";
import { resolveConfig } from "../../io/config.ts";
import { answerOptions } from "../../models/answering.ts";

const tokenizer = { eosId: 7, padId: 9 };
const questions = [{ id: 3, question: "a" }, { id: 5, question: "b" }];

Deno.test("answering: as released from the 50 most probable tokens with [PAD], else from all but [PAD]", async () => {
  const found = await Promise.all(["released", "corrected"].map(async (profile) => {
    const { config } = await resolveConfig({ model: "cot", overrides: [`profile=${profile}`] });
    const generation = config.model.model_kwargs.answer_generation_config;
    const options = { speed: 1, greedy: false, seed: 4 };
    const drawn = answerOptions(generation, tokenizer, questions, options);
    assert.equal(drawn.doSample, true);
    assert.deepEqual([drawn.eosIds, drawn.random?.seed, drawn.random?.sampleIds], [[7], 4, [3, 5]]);
    return [drawn.topK, drawn.suppressed];
  }));
  assert.deepEqual(found, [[50, []], [0, [9]]]);
});
