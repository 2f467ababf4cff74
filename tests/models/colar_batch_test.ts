/** Where the tokens of a batch come from: sources, labels and visibility of both passes, written out by hand. */
import assert from "node:assert/strict";
import { type BatchOptions, layBatch, type Pass } from "../../models/colar_batch.ts";
import { methodsTokenizer } from "../methods_text.ts";

const tokenizer = await methodsTokenizer();
const [SEP, EOS] = [tokenizer.separatorId, tokenizer.eosId];

/** Steps of 2 and 5 tokens with the separator, of which the first row ends in pads as released. */
const ROWS = [
  { question: "a", steps: ["1"], answer: "1" },
  { question: "a", steps: ["1234"], answer: "1" },
];
const id = (text: string) => tokenizer.encode(text)[0];
const ANSWER = tokenizer.encode("Answer:1");

const options = (changes: Partial<BatchOptions>): BatchOptions => ({
  compression: 2,
  speed: 2,
  labelChoice: () => 0,
  layout: "clean",
  superviseSteps: true,
  maskSeparator: false,
  ...changes,
});

/** A pass row by row without its questions: tokens as p (plain), g (pooled), s (sampled), 0 (zeros) with an index. */
function shown(batch: ReturnType<typeof layBatch>, pass: Pass): string[] {
  const [plain, pooled] = [batch.plainIds.length, batch.groupOffsets.length - 1];
  let token = 0;
  return pass.rows.map(({ length, visible }) => {
    const words = Array.from({ length }, (_, i) => {
      const source = pass.sources[token++];
      const word = source < plain
        ? String(batch.plainIds[source])
        : source < plain + pooled
        ? source === plain ? "0" : `g${source - plain}`
        : `s${source - plain - pooled}`;
      return visible![i] ? word : `(${word})`;
    });
    return words.slice(words.findIndex((w) => /^\(|^g|^s/.test(w) || w === String(SEP))).join(" ");
  });
}

const tail = [SEP, ...ANSWER, EOS].join(" ");
const labelsOf = (pass: Pass) => [...pass.labels].filter((label) => label >= 0);

Deno.test("layBatch(): the clean layout keeps one pad before a row's groups, and none behind", () => {
  const batch = layBatch(tokenizer, ROWS, options({}));
  assert.deepEqual(shown(batch, batch.first), [`(0) g1 g2 ${tail}`, `g3 g4 g5 ${tail}`]);
  assert.deepEqual(labelsOf(batch.first).slice(0, 3), [SEP, id("1"), SEP]);
  assert.deepEqual(batch.latents.map(({ row, column, isGroup }) => [row, column, isGroup]), [
    [0, 1, true],
    [0, 2, true],
    [1, 0, true],
    [1, 1, true],
    [1, 2, true],
  ]);
  assert.equal(batch.second, undefined);
});

Deno.test("layBatch(): a pad whose prediction does not count is left out", () => {
  for (const change of [{ superviseSteps: false }, { maskSeparator: true }]) {
    const batch = layBatch(tokenizer, ROWS, options(change));
    assert.deepEqual(shown(batch, batch.first), [`g1 g2 ${tail}`, `g3 g4 g5 ${tail}`]);
    const separators = labelsOf(batch.first).filter((label) => label === SEP);
    assert.equal(separators.length, 2, "those of the answers");
  }
  const batch = layBatch(tokenizer, ROWS, options({ superviseSteps: false }));
  assert.deepEqual(labelsOf(batch.first), [SEP, ...ANSWER, EOS, SEP, ...ANSWER, EOS]);
});

Deno.test("layBatch(): c = 1 takes plain embeddings, and [PAD]'s for a pad", () => {
  const batch = layBatch(tokenizer, ROWS, options({ compression: 1, speed: 1 }));
  const steps = [SEP, ...tokenizer.encode("1234")].join(" ");
  assert.deepEqual(shown(batch, batch.first), [
    `(${tokenizer.padId}) ${SEP} ${id("1")} ${tail}`,
    `${steps} ${tail}`,
  ]);
});

Deno.test("layBatch(): as released, a row may end in a pad; the second pass puts ### in column 0", () => {
  const rows = ["1+", "1*2*", "1", ""].map((step) => ({ ...ROWS[0], steps: [step] }));
  const lengths = rows.map(({ steps }) => tokenizer.encode("###" + steps[0]).length);
  assert.deepEqual(lengths, [3, 5, 2, 1]);
  const second = { index: "as-released", labels: "steps_and_answer" } as const;
  const batch = layBatch(
    tokenizer,
    rows,
    options({ compression: 3, layout: "as-released", second }),
  );
  assert.deepEqual(shown(batch, batch.first), [
    `g1 g2 (0) ${tail}`,
    `g3 g4 g5 ${tail}`,
    `(0) g6 g7 ${tail}`,
    `(0) g8 ${tail}`,
  ]);
  assert.deepEqual(batch.latents.map(({ row, column, isGroup }) => [row, column, isGroup]), [
    [0, 0, true],
    [0, 1, true],
    [0, 2, false],
    [1, 0, true],
    [1, 1, true],
    [1, 2, true],
    [2, 0, false],
    [2, 1, true],
    [2, 2, true],
    [3, 1, false],
    [3, 2, true],
  ]);
  assert.deepEqual(shown(batch, batch.second!), [
    `${SEP} s1 (s2) ${tail}`,
    `${SEP} s4 s5 ${tail}`,
    `${SEP} s7 s8 ${tail}`,
    `${SEP} (s9) s10 ${tail}`,
  ]);
  assert.deepEqual(labelsOf(batch.second!), labelsOf(batch.first));
});

Deno.test("layBatch(): the clean second pass shifts samples by one and supervises the answer", () => {
  const second = { index: "clean", labels: "answer" } as const;
  const batch = layBatch(tokenizer, ROWS, options({ second }));
  assert.deepEqual(shown(batch, batch.second!), [`${SEP} s0 ${tail}`, `${SEP} s2 s3 ${tail}`]);
  assert.deepEqual(labelsOf(batch.second!), [SEP, ...ANSWER, EOS, SEP, ...ANSWER, EOS]);
  const both = { index: "clean", labels: "steps_and_answer" } as const;
  const labelled = layBatch(tokenizer, ROWS, options({ second: both }));
  assert.equal(shown(labelled, labelled.second!)[0], `(0) ${SEP} s0 ${tail}`);
  assert.deepEqual(labelsOf(labelled.second!), labelsOf(labelled.first));
});

Deno.test("layBatch(): no rows, and a label outside its group, are refused", () => {
  assert.throws(() => layBatch(tokenizer, [], options({})), {
    name: "RangeError",
    message: "colar: a batch needs at least one row",
  });
  assert.throws(() => layBatch(tokenizer, ROWS, options({ labelChoice: () => 1 })), {
    name: "RangeError",
    message: "colar: label choice 1 of row 0, column 1 must be an integer below 1, the tokens of " +
      "its group",
  });
});
