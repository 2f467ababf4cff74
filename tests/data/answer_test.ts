/** Scoring against the tables of the published code, Python's float() and the two ways to count reasoning. */
import assert from "node:assert/strict";
import {
  extractAnswer,
  formatPythonFloat,
  isWithin,
  parsePythonFloat,
  reasoningLength,
  reasoningTokens,
  verifyAnswer,
} from "../../data/answer.ts";
import { golden, methodsTokenizer } from "../methods_text.ts";

Deno.test("answers: every row of the published table", async () => {
  const { table } = await golden<
    {
      table: { gt_answer: string; output_string: string; extracted: string; correct: number }[];
    }
  >("answers");
  assert.ok(table.length > 80);
  for (const row of table) {
    const extracted = extractAnswer(row.output_string);
    assert.equal(extracted, row.extracted, JSON.stringify(row));
    assert.equal(verifyAnswer(row.gt_answer, extracted) ? 1 : 0, row.correct, JSON.stringify(row));
  }
});

Deno.test("answers: numbers as Python 3.11's str() writes floats, and back", () => {
  const floats: readonly [number, string][] = [
    [39, "39.0"],
    [0, "0.0"],
    [-0, "-0.0"],
    [-9867630, "-9867630.0"],
    [26.333333333333332, "26.333333333333332"],
    [0.0001, "0.0001"],
    [0.00001, "1e-05"],
    [2.0107e-6, "2.0107e-06"],
    [1.5e-10, "1.5e-10"],
    [9284017268534.4, "9284017268534.4"],
    [9999999999999998, "9999999999999998.0"],
    [1e16, "1e+16"],
    [1.25e100, "1.25e+100"],
    [Infinity, "inf"],
    [-Infinity, "-inf"],
    [NaN, "nan"],
  ];
  for (const [value, text] of floats) {
    assert.equal(formatPythonFloat(value), text);
    assert.ok(Object.is(parsePythonFloat(text), value), text);
  }
});

Deno.test("answers: a tolerance is a share of the right number; text and 0 must be met", () => {
  const cases: readonly [right: string, given: string, isIn: boolean][] = [
    ["26.333333333333332", "26.33", true],
    ["26.333333333333332", "26.3", false],
    ["-1,000", "-1001.", true],
    ["1000", "-1000", false],
    ["0", "0.0", true],
    ["0", "0.0001", false],
    ["x + 1", "x + 1", true],
    ["x + 1", "1", false],
    ["inf", "5", false],
    ["5", "nan", false],
  ];
  for (const [right, given, isIn] of cases) {
    assert.equal(isWithin(right, given, 0.001), isIn, `${given} for ${right}`);
  }
});

Deno.test("answers: numbers as Python 3.11's float() reads them", () => {
  const numbers: readonly [string, number][] = [
    ["\x855", 5],
    ["\u20005\u3000", 5],
    ["\xa05", 5],
    ["\t5\v\f", 5],
    ["1١", 11],
    ["1_١", 11],
    ["१२", 12],
    ["𝟏𝟐", 12],
    ["1_000.0_1", 1000.01],
    ["1e1_0", 1e10],
    ["+.5e-1_0", 5e-11],
    ["0_0", 0],
    ["1e-400", 0],
    ["-INFINITY", -Infinity],
    ["-nan", NaN],
  ];
  for (const [text, number] of numbers) {
    assert.ok(Object.is(parsePythonFloat(text), number), JSON.stringify(text));
  }
  const others = ["\x1c5", "5\x1c", "\ufeff5", "５．５", "1_.5", "1._5", "1e_1", "infin", "+ 5"]
    .concat(["5\0", "", "  ", ".", "e5", "1e5e", "0x10", "0b1", "1__0", "²", "½", "--5", "1 0"]);
  for (const text of others) {
    assert.equal(parsePythonFloat(text), undefined, JSON.stringify(text));
  }
});

Deno.test("reasoning length: every row of the published table, released and corrected", async () => {
  const tokens = reasoningTokens(await methodsTokenizer());
  const { config, table } = await golden<
    {
      config: { separator_id: number; colon_id: number };
      table: {
        output: string;
        ids: number[];
        released: number;
        index_of_separator: number | null;
      }[];
    }
  >("reasoning_length");
  assert.equal(tokens.separatorId, config.separator_id);
  assert.equal(tokens.colonId, config.colon_id);
  for (const { output, ids, released, index_of_separator } of table) {
    assert.equal(reasoningLength(ids, tokens, "released"), released, output);
    if (index_of_separator !== null) {
      assert.equal(reasoningLength(ids, tokens), index_of_separator, output);
    }
  }
});

Deno.test("reasoning length: corrected counts what comes before the answer or the end", async () => {
  const tokenizer = await methodsTokenizer();
  const tokens = reasoningTokens(tokenizer);
  const cases: readonly [string, number][] = [
    ["Answer:3<|eot_id|>", 0],
    ["Answer:-5<|eot_id|>", 0],
    ["<<1+2=3>>\nAnswer:3<|eot_id|>", 7],
    ["<<1+2=3>>", 7],
    ["<<1+2=3>><|eot_id|>[PAD][PAD]", 7],
    ["x:y", 3],
    ["", 0],
  ];
  for (const [output, length] of cases) {
    assert.equal(reasoningLength(tokenizer.encode(output), tokens), length, output);
  }
});

Deno.test("reasoning length: released on generated batches, pads counted where nothing is found", async () => {
  const tokens = reasoningTokens(await methodsTokenizer());
  const { generate } = await golden<
    {
      generate: {
        pred_ids: number[][];
        n_latent_forward?: number[];
        separator_index?: (number | null)[];
      }[];
    }
  >("segments");
  let compared = 0;
  for (const { pred_ids, n_latent_forward, separator_index } of generate) {
    pred_ids.forEach((padded, row) => {
      if (!n_latent_forward || !separator_index) return;
      const ids = padded.filter((id) => id !== tokens.endIds[1]);
      assert.equal(reasoningLength(ids, tokens, "released", padded.length), n_latent_forward[row]);
      const index = separator_index[row];
      if (index !== null) assert.equal(reasoningLength(ids, tokens), index);
      compared++;
    });
  }
  assert.equal(compared, 12);
});
