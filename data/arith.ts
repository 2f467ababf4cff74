/**
 * Generated word problems in the manner of GSM8k-Aug: English question, steps `<<12+7=19>>`, integer answer.
 *
 * A problem is one running number v: a start ("Tom starts with 7 pens."), events that change it ("He buys 4 more."),
 * and a question. Each calculation is one step. In `arith` the start is told after the events, so that a reader has to
 * go back to it. Event kinds: `+ n`, `- n`, `* n`, and the reversed minus n - v ("trades all for the others of n").
 * No number is below 2, there is no division, and every number is told once in a question, so that the one used last
 * shows which event comes next. Small answers are thinned out (a problem is kept with probability 2 v / limit).
 *
 * | variant    | plays      | problems                                          |
 * | ---------- | ---------- | ------------------------------------------------- |
 * | `arith`    | GSM8k-Aug  | 2 to 4 steps, numbers to 16                       |
 * | `hard`     | GSM-Hard   | the same stories, some number from 17 to 24       |
 * | `reworded` | SVAMP      | other sentences, start told first, 2 or 3 steps   |
 * | `short`    | MultiArith | 2 steps                                           |
 *
 * Guessing from the last operation and its number alone is right in about 14 of 100 questions of `arith`.
 *
 * **The same rows on every machine.** A stream of rows is fixed by its seed (mulberry32, integers only). Train, val and
 * test are three streams of one data seed. **No question twice**: a stream leaves out what it has already asked; val
 * also leaves out what test asks, and train what val or test of any variant ask, in their first 1,000 rows
 * (`MAX_HELD_OUT_ROWS`, the most that can be had of these two), so that a row does not depend on how many are asked for.
 * Test sets of two variants may share questions: `short` has about 3 of 100 in common with `arith`.
 *
 * Source: data v2 of the recipe in PyTorch that this project's embedded model was planned with; rows are identical.
 */
import templates from "./arith_templates.json" with { type: "json" };
import type { Split } from "../io/dataset.ts";
import type { QsaDataset, QsaRow } from "./qsa.ts";
import { mixSeeds, Random } from "./random.ts";

/** What kind of problem is made. */
export interface ArithRules {
  /** Weights of 1, 2, ... steps. */
  readonly steps: readonly number[];
  /** No number is above it. */
  readonly limit: number;
  /** Some number is at least that; 0 where it does not matter. */
  readonly floor: number;
  /** Sentences: the story with its start told `first` or `last`, or the `other` sentences (start first). */
  readonly telling: "first" | "last" | "other";
  /** Kinds of events, a character each, drawn uniformly: + - * and r, the reversed minus. */
  readonly events: string;
  /** The largest n of + and -. */
  readonly operand: number;
  /** The n of a reversed minus are the numbers limit - totals to limit. */
  readonly totals: number;
}

const STORY: ArithRules = {
  steps: [0, 20, 40, 40],
  limit: 16,
  floor: 0,
  telling: "last",
  events: "++++---rrrr*",
  operand: 6,
  totals: 4,
};

/** The four data sets that can be generated. */
export const ARITH_VARIANTS = {
  arith: STORY,
  hard: { ...STORY, limit: 24, floor: 17, operand: 9, totals: 8 },
  reworded: { ...STORY, steps: [0, 50, 50], telling: "other" },
  short: { ...STORY, steps: [0, 100] },
} as const satisfies Record<string, ArithRules>;

/** `arith`, `hard`, `reworded` or `short`. */
export type ArithVariant = keyof typeof ARITH_VARIANTS;

/** The most rows of val or of test: what train never asks. */
export const MAX_HELD_OUT_ROWS = 1000;

/** Stream numbers of data seed 0. */
const STREAM: Readonly<Record<Split, number>> = { val: 1, test: 2, train: 10 };

/** Which rows are generated. */
export interface ArithOptions {
  readonly split: Split;
  readonly count: number;
  /** @default "arith" */
  readonly variant?: ArithVariant;
  /** Another seed gives other problems in all three splits. @default 0 */
  readonly seed?: number;
}

/**
 * Generates the first rows of a split.
 * @throws {RangeError} for an unknown variant, a count that is no positive integer, or more of val or test than
 *   `MAX_HELD_OUT_ROWS`
 */
export function arithRows({ split, count, variant = "arith", seed = 0 }: ArithOptions): QsaRow[] {
  if (!Object.hasOwn(ARITH_VARIANTS, variant)) {
    throw new RangeError(
      `arith: variant must be one of ${Object.keys(ARITH_VARIANTS).join(", ")}, got '${variant}'`,
    );
  }
  if (!Number.isInteger(seed) || seed < 0) {
    throw new RangeError(`arith: seed must be an integer from 0, got ${seed}`);
  }
  const most = split === "train" ? Infinity : MAX_HELD_OUT_ROWS;
  if (!Number.isInteger(count) || count < 1 || count > most) {
    const range = split === "train" ? "an integer from 1" : `an integer from 1 to ${most}`;
    throw new RangeError(`arith: number of ${split} rows must be ${range}, got ${count}`);
  }
  return takeUnseen(split, variant, seed, count, heldOut(split, variant, seed));
}

/**
 * Generates all three splits.
 * @param counts rows of each split
 * @throws {RangeError} as `arithRows`
 */
export function arithDataset(
  counts: Readonly<Record<Split, number>>,
  variant: ArithVariant = "arith",
  seed = 0,
): QsaDataset {
  const rows = (split: Split) => arithRows({ split, count: counts[split], variant, seed });
  return { train: rows("train"), val: rows("val"), test: rows("test") };
}

/** Questions that a split must not ask. */
function heldOut(split: Split, variant: ArithVariant, seed: number): Set<string> {
  if (split === "test") return new Set();
  if (split === "val") return heldOutQuestions([variant], ["test"], seed);
  // Only these can meet: numbers (hard) and sentences (reworded) keep the others apart.
  return heldOutQuestions([variant, "arith", "short"], ["test", "val"], seed);
}

/**
 * The questions that val and test may ask: what nothing that trains a model should show it.
 * @param splits which of the two, `test` first, since val leaves out what test asks
 */
export function heldOutQuestions(
  variants: readonly ArithVariant[] = Object.keys(ARITH_VARIANTS) as ArithVariant[],
  splits: readonly ("test" | "val")[] = ["test", "val"],
  seed = 0,
): Set<string> {
  const asked = new Set<string>();
  for (const variant of new Set(variants)) {
    const own = new Set<string>();
    for (const split of splits) takeUnseen(split, variant, seed, MAX_HELD_OUT_ROWS, own);
    for (const question of own) asked.add(question);
  }
  return asked;
}

/** The first rows of a stream whose question is not in `seen`, to which they are added. */
function takeUnseen(
  split: Split,
  variant: ArithVariant,
  seed: number,
  count: number,
  seen: Set<string>,
): QsaRow[] {
  const random = new Random(seed === 0 ? STREAM[split] : mixSeeds(seed, STREAM[split]));
  const rows: QsaRow[] = [];
  while (rows.length < count) {
    const row = arithProblem(random, ARITH_VARIANTS[variant]);
    if (seen.has(row.question)) continue;
    seen.add(row.question);
    rows.push(row);
  }
  return rows;
}

/**
 * Draws one problem: first its number of steps, then tries until one with that many keeps the rules.
 * @param random advanced by the draws of all tries
 */
export function arithProblem(random: Random, rules: ArithRules): QsaRow {
  const numSteps = random.weighted(rules.steps) + 1;
  for (;;) {
    const row = attempt(random, numSteps, rules);
    if (row && Math.max(...row.steps.flatMap(numbersIn)) >= rules.floor) return row;
  }
}

/** Draws n so that v `op` n (for r: n - v) lies in 2..limit; undefined where there is none. */
export function drawOperand(
  random: Random,
  op: string,
  v: number,
  { limit, operand, totals }: ArithRules,
): number | undefined {
  const [low, high] = op === "+"
    ? [2, Math.min(operand, limit - v)]
    : op === "-"
    ? [2, Math.min(operand, v - 2)]
    : op === "*"
    ? [2, Math.min(3, Math.floor(limit / v))]
    : [Math.max(limit - totals, v + 2), limit];
  return low <= high ? random.integer(low, high) : undefined;
}

/** Applies an event to v. @returns the equation as a step, and the new number */
export function applyOperation(v: number, op: string, n: number): { step: string; result: number } {
  const [left, sign, right] = op === "r" ? [n, "-", v] : [v, op, n];
  const result = sign === "+" ? left + right : sign === "-" ? left - right : left * right;
  return { step: `<<${left}${sign}${right}=${result}>>`, result };
}

/** A calculation, `a+b` in a start, `n-v` in an end, or ""; and the sentence that implies it. */
type Template = readonly [formula: string, sentence: string];
type Words = Readonly<Record<string, string | number>>;
interface Start {
  readonly sentence: string;
  readonly told: Readonly<Record<string, number>>;
  readonly result: number;
  readonly steps: readonly string[];
}

/** One try at a problem with exactly `numSteps` steps. The order of the draws is part of the format. */
function attempt(random: Random, numSteps: number, rules: ArithRules): QsaRow | undefined {
  const cast = drawCast(random);
  if (!cast) return undefined;
  const start = drawStart(random, rules);
  if (!start) return undefined;
  const steps = [...start.steps];
  const numbers = Object.values(start.told);
  let v = start.result;

  const [ending, question] = random.pick(templates.end[rules.telling] as unknown as Template[]);
  const events: Record<string, string[]> =
    templates.event[rules.telling === "other" ? "other" : "story"];
  const told: [sentence: string, words: Words][] = [];
  const numEvents = numSteps - steps.length;
  if (numEvents < 1) return undefined;
  for (let k = 0; k < numEvents; k++) {
    const isEnding = k === numEvents - 1 && ending === "n-v";
    const op = isEnding ? "r" : random.pick(rules.events);
    const sentence = isEnding ? question : random.pick(events[op]);
    const n = drawOperand(random, op, v, rules);
    if (n === undefined) return undefined;
    numbers.push(n);
    told.push([sentence, { n }]);
    const { step, result } = applyOperation(v, op, n);
    steps.push(step);
    v = result;
  }
  if (ending === "") told.push([question, {}]);

  if (new Set(numbers).size < numbers.length) return undefined;
  if (random.next() * rules.limit >= 2 * v) return undefined;
  if (rules.telling === "last") {
    // Nobody has been named yet whom "he" could mean.
    told[0][1] = { ...told[0][1], P: cast.N };
    told.splice(-1, 0, [start.sentence, start.told]);
  } else told.unshift([start.sentence, start.told]);
  const sentences = told.map(([sentence, words]) => fill(sentence, { ...cast, ...words }));
  return { question: sentences.join(" "), steps, answer: String(v) };
}

/** Who the story is about (N, called P later on), two others, and what it counts. */
function drawCast(random: Random): Words | undefined {
  const [N, P] = random.pick(templates.names);
  const [O] = random.pick(templates.names);
  const [Q] = random.pick(templates.names);
  if (N === O || N === Q || O === Q) return undefined;
  return { N, P, O, Q, things: random.pick(templates.things), boxes: random.pick(templates.boxes) };
}

/** The sentence that gives the first number, which may itself be the result of a step. */
function drawStart(random: Random, rules: ArithRules): Start | undefined {
  const [formula, sentence] = random.pick(
    templates.start[rules.telling] as unknown as Template[],
  );
  if (!formula) {
    const a = random.integer(2, rules.limit - 2);
    return { sentence, told: { a }, result: a, steps: [] };
  }
  const op = formula[1];
  const a = op === "*" ? random.integer(2, 9) : random.integer(2, rules.limit - 2);
  const b = drawOperand(random, op, a, rules);
  if (b === undefined) return undefined;
  const { step, result } = applyOperation(a, op, b);
  return { sentence, told: { a, b }, result, steps: [step] };
}

const fill = (sentence: string, words: Words) =>
  sentence.replace(/\{(\w+)\}/g, (_, name) => String(words[name]));

const numbersIn = (text: string) => (text.match(/[0-9]+/g) ?? []).map(Number);
