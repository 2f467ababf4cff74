/** Golden tables of a method set: tokenizer, answers, lengths and evaluation of literal outputs, configuration. */
import assert from "node:assert/strict";
import { extractAnswer, reasoningLength, reasoningTokens, verifyAnswer } from "../data/answer.ts";
import { meanMetrics, paperInterval, type Prediction, scoreOutput } from "../data/metrics.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Tokenizer } from "../io/tokenizer.ts";
import ownOverrides from "./golden/config_overrides.json" with { type: "json" };
import type { GoldenCase } from "./golden_case.ts";
import { checkOverride, checkRows, type OverrideRow } from "./io/config_overrides.ts";

/** Ids without special tokens, and decoding. */
export function checkTokenizer(golden: GoldenCase, tokenizer: Tokenizer): void {
  const { config, table } = golden.json;
  assert.equal(tokenizer.padId, config.pad_id);
  assert.equal(tokenizer.eosId, config.eos_id);
  assert.equal(tokenizer.separatorId, config.separator_id);
  for (const { text, ids, decoded } of table) {
    golden.same(tokenizer.encode(text), JSON.stringify(text), ids);
    assert.equal(tokenizer.decode(ids), decoded);
  }
}

/** Which part of an output is the answer, and whether it is right. */
export function checkAnswers(golden: GoldenCase): void {
  for (const row of golden.json.table) {
    const extracted = extractAnswer(row.output_string);
    assert.equal(extracted, row.extracted, JSON.stringify(row));
    assert.equal(verifyAnswer(row.gt_answer, extracted) ? 1 : 0, row.correct, JSON.stringify(row));
    golden.compared++;
  }
}

/** #L of literal outputs, as released and exact. */
export function checkReasoningLength(golden: GoldenCase, tokenizer: Tokenizer): void {
  const tokens = reasoningTokens(tokenizer);
  assert.equal(tokens.separatorId, golden.json.config.separator_id);
  assert.equal(tokens.colonId, golden.json.config.colon_id);
  for (const { output, ids, released, index_of_separator } of golden.json.table) {
    assert.equal(reasoningLength(ids, tokens, "released"), released, output);
    if (index_of_separator !== null) {
      assert.equal(reasoningLength(ids, tokens), index_of_separator, output);
    }
    golden.compared++;
  }
}

/** Scores of literal outputs, their means, and the paper's interval. */
export function checkEvaluation(
  golden: GoldenCase,
  tokenizer: Tokenizer,
  rows: readonly QsaRow[],
): void {
  const { config, metrics, per_row, replications } = golden.json;
  const [, width] = golden.shape("pred_ids");
  const ids = golden.ints("pred_ids");
  const scored = rows.map(({ answer }, row): Prediction => {
    const own = [...ids.subarray(row * width, (row + 1) * width)]
      .filter((id) => id !== tokenizer.padId);
    return scoreOutput(row, answer, tokenizer.decode(own), {
      n_latent_forward: config.n_latent_forward[row],
      output_length: own.length,
    });
  });
  for (const key of Object.keys(per_row) as (keyof Prediction)[]) {
    assert.deepEqual(scored.map((prediction) => prediction[key]), per_row[key], key);
  }
  const means = Object.entries(meanMetrics(scored, "released"))
    .map(([key, value]) => [`test/${key}`, value]);
  assert.deepEqual({ monitor: metrics["test/acc"], ...Object.fromEntries(means) }, metrics);
  const interval = paperInterval(replications.values);
  assert.ok(Math.abs(interval - replications.interval) <= 1e-12);
  golden.compared += ids.length;
}

/** What arguments change: each row is applied, and is the repository's where it has the same argument. */
export async function checkConfigOverrides(golden: GoldenCase): Promise<void> {
  const rows: readonly OverrideRow[] = golden.json.table;
  checkRows(rows);
  const own = new Map(ownOverrides.table.map((row) => [row.argument, row as OverrideRow]));
  for (const row of rows) {
    // Of a row that we do not follow nothing else looks at what was recorded.
    assert.deepEqual(row, own.get(row.argument) ?? row);
    await checkOverride(row);
    golden.compared++;
  }
}
