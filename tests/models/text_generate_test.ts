/** Answers in text go on from the prompts they are given, and count reasoning as they are told. */
import assert from "node:assert/strict";
import { reasoningTokens } from "../../data/answer.ts";
import { promptIds } from "../../data/prompt.ts";
import { SWITCHES } from "../../io/config_profile.ts";
import { textGenerate } from "../../models/text_generate.ts";
import { gpuTest } from "../check_op.ts";
import { modelOptions, sixRows, tinyCot } from "./tiny_method.ts";

gpuTest("text generate: the prompt decides, and the profile counts", async (gpu) => {
  using cot = await tinyCot(gpu);
  const { backbone, tokenizer } = cot;
  const questions = (await sixRows()).slice(0, 3).map(({ question }, id) => ({ id, question }));
  const prompts = questions.map(({ question }) => promptIds(tokenizer, question, 1));
  const writer = {
    backbone,
    tokenizer,
    generation: modelOptions({ max_new_tokens: 12 }).answer_generation_config,
    reasoningTokens: reasoningTokens(tokenizer),
  };
  const options = { speed: 1, greedy: true, seed: 0 };
  const exact = { ...writer, reasoningLength: "exact" as const };
  const answers = await textGenerate(exact, questions, prompts, options);
  assert.deepEqual(answers, await cot.answer(questions, options));
  const other = prompts.map((ids) => ids.slice(0, -1));
  assert.notDeepEqual(await textGenerate(exact, questions, other, options), answers);
  // An untrained model writes no ###: a token that it does write stands for it.
  const separatorId = answers[0].ids[5];
  const index = answers[0].ids.indexOf(separatorId);
  const { released, corrected } = SWITCHES.reasoning_length;
  for (const [reasoningLength, counted] of [[corrected, index], [released, index - 1]] as const) {
    const counting = { ...writer, reasoningLength };
    const tokens = { ...writer.reasoningTokens, separatorId };
    const [first] = await textGenerate(
      { ...counting, reasoningTokens: tokens },
      questions.slice(0, 1),
      prompts.slice(0, 1),
      options,
    );
    assert.deepEqual(first.ids, answers[0].ids);
    assert.equal(first.reasoningLength, counted);
  }
  assert.deepEqual(await textGenerate(exact, [], [], options), []);
});
