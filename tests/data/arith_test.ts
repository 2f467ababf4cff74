/** Generated word problems: rows identical to the recipe's, splits without a shared question, refusals. */
import assert from "node:assert/strict";
import {
  ARITH_VARIANTS,
  arithDataset,
  arithProblem,
  arithRows,
  type ArithVariant,
  heldOutQuestions,
  MAX_HELD_OUT_ROWS,
} from "../../data/arith.ts";
import { PretrainingText } from "../../data/arith_text.ts";
import { parseQsa } from "../../data/qsa.ts";
import { Random } from "../../data/random.ts";
import type { Split } from "../../io/dataset.ts";
import { realFolder } from "../real_files.ts";

/** First rows of each stream, as the recipe's Python program (data v2) printed them. */
const FIRST_ROWS: readonly [ArithVariant, Split, string, string][] = [
  [
    "arith",
    "train",
    "Paul gives Kate 4 more. She gives 6 to Paul. She sells 3 of them. Kate starts with 7 stickers. How many stickers does Kate have now?",
    "<<7+4=11>> <<11-6=5>> <<5-3=2>> 2",
  ],
  [
    "arith",
    "val",
    "Max trades the others of 16 with Kate. Max gives Kate 4 more. Max trades the others of 13 with Kate. Kate starts with 12 old apples and 2 new ones. How many apples does Kate have now?",
    "<<12+2=14>> <<16-14=2>> <<2+4=6>> <<13-6=7>> 7",
  ],
  [
    "arith",
    "test",
    "Jack trades all for the others of 15. Ann trades the others of 12 with Jack. He trades all for the others of 16. Jack starts with 4 baskets of 3 nuts each. How many nuts does Jack have now?",
    "<<4*3=12>> <<15-12=3>> <<12-3=9>> <<16-9=7>> 7",
  ],
  [
    "hard",
    "test",
    "Jack trades all for the others of 19. Ann trades the others of 17 with Jack. He trades all for the others of 24. Jack starts with 4 baskets of 3 nuts each. How many nuts does Jack have now?",
    "<<4*3=12>> <<19-12=7>> <<17-7=10>> <<24-10=14>> 14",
  ],
  [
    "reworded",
    "test",
    "A school has 2 old plums and 5 new ones. After that only the others of 14 are left. Later 6 others arrive. What is the number of plums in the end?",
    "<<2+5=7>> <<14-7=7>> <<7+6=13>> 13",
  ],
  [
    "short",
    "test",
    "Max gives Mia 6 more. Max gives Mia 2 more. Mia starts with 8 eggs. How many eggs does Mia have now?",
    "<<8+6=14>> <<14+2=16>> 16",
  ],
];

/** SHA-256 of 5,000 problems from seed 12345, from the same program; compact JSON [question, steps, answer], one a line. */
const STREAMS: Readonly<Record<ArithVariant | "wide", string>> = {
  arith: "eaa6adc9ede65f44",
  hard: "5d66ab125bca3161",
  reworded: "4e77920526c22727",
  short: "a2a04ba2c0f3ecb1",
  wide: "9de420cc0440357c",
};

Deno.test("arith: the first row of every split and variant is the recipe's", () => {
  for (const [variant, split, question, rest] of FIRST_ROWS) {
    const [row] = arithRows({ split, variant, count: 1 });
    assert.equal(row.question, question);
    assert.equal([...row.steps, row.answer].join(" "), rest);
  }
});

Deno.test("arith: 5,000 problems of every variant, and of a wider one, are identical to the recipe's", async () => {
  const wide = {
    ...ARITH_VARIANTS.arith,
    steps: [10, 25, 30, 25, 10],
    limit: 32,
    operand: 9,
    totals: 20,
    telling: "first" as const,
  };
  for (const [name, rules] of Object.entries({ ...ARITH_VARIANTS, wide })) {
    const random = new Random(12345);
    const lines = Array.from({ length: 5000 }, () => {
      const { question, steps, answer } = arithProblem(random, rules);
      return JSON.stringify([question, steps, answer]);
    });
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(lines.join("\n")));
    assert.equal(new Uint8Array(hash).toHex().slice(0, 16), STREAMS[name as ArithVariant], name);
  }
});

Deno.test("arith: the sample of 200 rows of each split, where it exists", async () => {
  const folder = await realFolder("DATA_DIR", "data");
  if (folder === undefined) return console.log("  skipped: DATA_DIR names no folder of data sets");
  const files: readonly [file: string, split: Split, variant: ArithVariant][] = [
    ["train", "train", "arith"],
    ["val", "val", "arith"],
    ["test", "test", "arith"],
    ["hard", "test", "hard"],
    ["reworded", "test", "reworded"],
    ["short", "test", "short"],
  ];
  for (const [file, split, variant] of files) {
    const text = await Deno.readTextFile(`${folder}/arith-sample/${file}.json`);
    const expected = parseQsa(JSON.parse(text), file);
    assert.deepEqual(arithRows({ split, variant, count: expected.length }), expected, file);
  }
});

Deno.test("arith: mulberry32 gives the recipe's numbers", () => {
  const random = new Random(1);
  const drawn = [random.next(), random.next(), random.next()];
  assert.deepEqual(drawn, [.6270739405881613, .002735721180215478, .5274470399599522]);
});

Deno.test("arith: no question stands in two splits or twice in one; rows keep the rules", () => {
  for (const seed of [0, 7]) {
    const { train, val, test } = arithDataset(
      { train: 30_000, val: 1000, test: 1000 },
      "arith",
      seed,
    );
    const questions = [...train, ...val, ...test].map((row) => row.question);
    assert.equal(questions.length, 32_000);
    assert.equal(new Set(questions).size, questions.length);
    const trained = new Set(train.map((row) => row.question));
    const others = (["hard", "reworded", "short"] as const).flatMap((variant) =>
      arithRows({ split: "test", variant, count: 1000, seed })
    );
    assert.ok(others.every((row) => !trained.has(row.question)));
    parseQsa(train, "train");
    for (const { question, steps, answer } of train) {
      assert.ok(steps.length >= 2 && steps.length <= 4);
      const numbers = steps.flatMap((step) => (step.match(/\d+/g) ?? []).map(Number));
      assert.ok(numbers.every((n) => n >= 2 && n <= 16), question);
      assert.equal(steps.at(-1)!.match(/=(\d+)>>$/)![1], answer);
    }
  }
});

Deno.test("arith: another seed gives other questions; fewer rows are the first of more", () => {
  const [a, b] = [0, 1].map((seed) => arithRows({ split: "val", count: 50, seed }));
  assert.notDeepEqual(a, b);
  assert.deepEqual(
    arithRows({ split: "train", count: 20 }),
    arithRows({ split: "train", count: 60 }).slice(0, 20),
  );
});

Deno.test("arith: refusals", () => {
  assert.throws(() => arithRows({ split: "val", count: 1, variant: "easy" as ArithVariant }), {
    name: "RangeError",
    message: "arith: variant must be one of arith, hard, reworded, short, got 'easy'",
  });
  assert.throws(() => arithRows({ split: "test", count: MAX_HELD_OUT_ROWS + 1 }), {
    name: "RangeError",
    message: "arith: number of test rows must be an integer from 1 to 1000, got 1001",
  });
  assert.throws(() => arithRows({ split: "train", count: 0 }), {
    message: "arith: number of train rows must be an integer from 1, got 0",
  });
  assert.throws(() => arithRows({ split: "train", count: 1, seed: -1 }), {
    message: "arith: seed must be an integer from 0, got -1",
  });
});

Deno.test("pretraining text: the stated mix, correct equations, numbers to 32, nothing held out", () => {
  const text = new PretrainingText(3);
  const documents = Array.from({ length: 4000 }, () => text.next());
  const share = (found: (document: string) => boolean, of = documents) =>
    of.filter(found).length / of.length;
  const problems = documents.filter((document) => document.startsWith("Question: "));
  assert.ok(Math.abs(problems.length / documents.length - 0.75) < 0.03);
  assert.ok(Math.abs(share((d) => d.includes("(Thinking speed: "), problems) - 0.2) < 0.03);
  assert.ok(Math.abs(share((d) => d.includes("###"), problems) - 0.5) < 0.03);
  assert.ok(share((d) => d.includes("There are ") || d.includes("A box holds "), problems) > 0.15);
  assert.ok(
    share((d) => d.includes(" starts with ") && d.indexOf(" starts with ") > 60, problems) > 0.2,
  );
  const heldOut = heldOutQuestions();
  const largest = { limit: 0 };
  for (const document of documents) {
    for (const [, a, op, b, c] of document.matchAll(/<<(\d+)([-+*])(\d+)=(\d+)>>/g)) {
      const [x, y] = [Number(a), Number(b)];
      assert.equal(op === "+" ? x + y : op === "-" ? x - y : x * y, Number(c));
      largest.limit = Math.max(largest.limit, x, y, Number(c));
    }
    const question = /^Question: (.*) Let's think/.exec(document)?.[1];
    assert.ok(!question || !heldOut.has(question));
  }
  assert.equal(largest.limit, 32);
  assert.deepEqual(new PretrainingText(3).next(), documents[0]);
  assert.notDeepEqual(new PretrainingText(4).next(), documents[0]);
});

Deno.test("pretraining text: rows are packed end to end and nothing is lost", () => {
  const tokenizer = {
    eosToken: "|",
    encode: (text: string) => [...text].map((character) => character.codePointAt(0)!),
  };
  const batches = new PretrainingText(5).batches(tokenizer, 2, 99);
  const ids = [0, 1, 2].flatMap(() => [...batches.next().value as Uint32Array]);
  assert.equal(ids.length, 3 * 2 * 100);
  const text = new PretrainingText(5);
  const expected = Array.from({ length: 20 }, () => text.next() + "|").join("");
  assert.equal(String.fromCodePoint(...ids), expected.slice(0, ids.length));
});
