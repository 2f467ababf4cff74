/** Token ids of every segment against what the published code fed to the model. */
import assert from "node:assert/strict";
import {
  answerIds,
  colarAnswerIds,
  colarStepsIds,
  cotStepsIds,
  promptIds,
  questionIds,
  questionText,
  remainingStepsIds,
  speedText,
} from "../../data/prompt.ts";
import { parseQsa } from "../../data/qsa.ts";
import { SWITCHES } from "../../io/config_profile.ts";
import { golden, methodsTokenizer } from "../methods_text.ts";

interface Segments {
  cot: { input_ids: number[][]; labels: number[][] };
  colar_r1: { steps: number[][]; answer: number[][]; real_question_tokens: number[] };
  icot: { question: number[][] };
  colar_prompt_c5: { real_tokens: number[] };
  generate: { case: string; prompts?: number[][] }[];
}

const tokenizer = await methodsTokenizer();
const rows = parseQsa(await golden("rows"), "rows.json");
const recorded = await golden<Segments>("segments");

Deno.test("prompt: the texts", () => {
  assert.equal(speedText(5), "(Thinking speed: 5)");
  assert.equal(speedText("auto"), "(Thinking speed: auto)");
  assert.equal(questionText("1 + 1?", ""), "Question: 1 + 1? Let's think step by step:");
  assert.equal(
    questionText("1 + 1?", 2),
    "Question: 1 + 1? Let's think step by step:(Thinking speed: 2)",
  );
});

Deno.test("prompt: CoT's input ids and labels of six rows", () => {
  rows.forEach(({ question, steps, answer }, row) => {
    const supervised = [...cotStepsIds(tokenizer, steps), ...answerIds(tokenizer, answer)];
    assert.deepEqual(supervised, recorded.cot.labels[row]);
    const ids = [...questionIds(tokenizer, question, 1), ...supervised];
    assert.deepEqual(ids, recorded.cot.input_ids[row]);
  });
});

Deno.test("prompt: CoLaR's segments of six rows", () => {
  const { steps: stepIds, answer: ids, real_question_tokens } = recorded.colar_r1;
  rows.forEach(({ question, steps, answer }, row) => {
    assert.deepEqual(colarStepsIds(tokenizer, steps), stepIds[row]);
    assert.deepEqual(colarAnswerIds(tokenizer, answer), ids[row]);
    assert.equal(questionIds(tokenizer, question, 1).length, real_question_tokens[row]);
    assert.equal(
      promptIds(tokenizer, question, 5).length,
      recorded.colar_prompt_c5.real_tokens[row],
    );
  });
});

Deno.test("prompt: what generation starts from, with a speed, with auto and without", () => {
  const suffixes: Readonly<Record<string, (question: string) => number[]>> = {
    text_generate_cot: (question) => promptIds(tokenizer, question, 1),
    text_generate_icot: (question) => questionIds(tokenizer, question, ""),
  };
  let compared = 0;
  rows.forEach(({ question }, row) => {
    assert.deepEqual(promptIds(tokenizer, question, "auto"), recorded.icot.question[row]);
    for (const { case: name, prompts } of recorded.generate) {
      if (!prompts) continue;
      assert.deepEqual(suffixes[name](question), prompts[row]);
      compared++;
    }
  });
  assert.equal(compared, 6 * 2);
});

Deno.test("prompt: ### is a token of its own beside any text unless released", () => {
  const released = {
    eosToken: "|",
    // As in Llama's vocabulary: marks and line breaks beside each other are one token.
    encode: (text: string) =>
      (text.match(/[#\n]+|./g) ?? []).map((piece) => piece.length * 1000 + piece.charCodeAt(0)),
    separatorTokens: SWITCHES.separator_tokens.released,
  };
  const alone = { ...released, separatorTokens: SWITCHES.separator_tokens.corrected };
  for (const steps of [[], [""]]) {
    assert.deepEqual(cotStepsIds(alone, steps), [3035, 3035]);
    assert.deepEqual(cotStepsIds(released, steps), [6035]);
    assert.deepEqual(colarStepsIds(alone, steps), [3035]);
  }
  assert.deepEqual(colarStepsIds(alone, ["\nx"]), [3035, 1010, 1120]);
  assert.deepEqual(colarStepsIds(released, ["\nx"]), [4035, 1120]);
  assert.deepEqual(remainingStepsIds(alone, ["x"], true), [1120, 1010, 3035]);
  assert.deepEqual(remainingStepsIds(released, ["x"], true), [1120, 4010]);
  assert.deepEqual(promptIds(alone, "x#", "").at(-1), 3035);
  assert.deepEqual(colarAnswerIds(alone, "1")[0], 3035);
});

Deno.test("prompt: what is left of the steps ends in ###, behind a line end if asked", async () => {
  const tokenizer = await methodsTokenizer();
  const text = (steps: string[], newline?: boolean) =>
    tokenizer.decode(remainingStepsIds(tokenizer, steps, newline));
  assert.equal(text(["<<1+1=2>>", "<<2*3=6>>"]), "<<1+1=2>>\n<<2*3=6>>###");
  assert.equal(text(["<<2*3=6>>"], true), "<<2*3=6>>\n###");
  assert.deepEqual([text([]), text([], true)], ["###", "\n###"]);
});
