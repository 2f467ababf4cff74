/**
 * The text that the embedded model is pretrained on: drills and worked problems around those of arith.ts, but wider.
 *
 * A base that has read only `arith` cannot read its variants. This text therefore has numbers to 32 (arith 16, hard
 * 24), 1 to 5 steps, the start told last, told first, and the other sentences; a quarter of the documents are drills,
 * eight equations each, so that the facts are known before the stories need them. What a method is later fine-tuned on
 * stays small. Documents use the methods' words but not one fixed layout: reasoning is marked off by `###` or by a line
 * break, and a fifth names a thinking speed, so that the base knows the tokens and CoT still has something to learn.
 *
 * No document shows a question that val or test of any variant asks (data seed 0).
 */
import {
  applyOperation,
  ARITH_VARIANTS,
  arithProblem,
  type ArithRules,
  drawOperand,
  heldOutQuestions,
} from "./arith.ts";
import { SEPARATOR } from "../io/tokenizer.ts";
import { type Encoder, questionText, type Speed } from "./prompt.ts";
import { Random } from "./random.ts";

/** Sizes of numbers, with the share of the problems that keep to them. */
const WORLDS: readonly [share: number, sizes: Pick<ArithRules, "limit" | "operand" | "totals">][] =
  [
    [60, { limit: 32, operand: 9, totals: 20 }],
    [20, { limit: 24, operand: 9, totals: 8 }],
    [20, { limit: 16, operand: 6, totals: 4 }],
  ];

/** Ways to tell a story, with their shares and the weights of 1, 2, ... steps. */
const TELLINGS: readonly [share: number, rules: Pick<ArithRules, "telling" | "steps">][] = [
  [45, { telling: "last", steps: [10, 25, 30, 25, 10] }],
  [20, { telling: "first", steps: [10, 25, 30, 25, 10] }],
  [35, { telling: "other", steps: [10, 35, 40, 15] }],
];

const DRILL_LINES = 8;
const SPEEDS: readonly Speed[] = [1, 2, 3, 4, 5, "auto"];

/** Shares of the text; the defaults are what the embedded model was made with. */
export interface PretrainingMix {
  /** Share of the documents that are drills. @default 0.25 */
  readonly drills?: number;
  /** Share of the problems that name a thinking speed. @default 0.2 */
  readonly speeds?: number;
  /** Share of the problems that are marked by `###`; the others by a line break. @default 0.5 */
  readonly separators?: number;
}

/** Endless documents, the same for the same seed. */
export class PretrainingText {
  readonly #random: Random;
  readonly #mix: Required<PretrainingMix>;
  readonly #heldOut = heldOutQuestions();

  constructor(seed: number, mix: PretrainingMix = {}) {
    this.#random = new Random(seed);
    this.#mix = { drills: 0.25, speeds: 0.2, separators: 0.5, ...mix };
  }

  /** @returns the next document, without an end-of-text token */
  next(): string {
    return this.#random.next() < this.#mix.drills ? this.#drill() : this.#problem();
  }

  /**
   * Packs documents, each closed by the end-of-text token, into rows of equal length; a row begins where the last one
   * ended.
   * @yields token ids [numRows, length + 1]: inputs are columns 0 to length - 1, labels columns 1 to length
   */
  *batches(tokenizer: Encoder, numRows: number, length: number): Generator<Uint32Array> {
    let left: number[] = [];
    for (;;) {
      while (left.length < numRows * (length + 1)) {
        left.push(...tokenizer.encode(this.next() + tokenizer.eosToken));
      }
      yield Uint32Array.from(left.slice(0, numRows * (length + 1)));
      left = left.slice(numRows * (length + 1));
    }
  }

  /** Eight equations of the largest world, one a line. */
  #drill(): string {
    const rules = { ...ARITH_VARIANTS.arith, ...WORLDS[0][1] };
    const lines: string[] = [];
    while (lines.length < DRILL_LINES) {
      const op = this.#random.pick(rules.events);
      const v = this.#random.integer(2, rules.limit);
      const n = drawOperand(this.#random, op, v, rules);
      if (n !== undefined) lines.push(applyOperation(v, op, n).step);
    }
    return lines.join("\n");
  }

  #problem(): string {
    const rules = {
      ...ARITH_VARIANTS.arith,
      ...this.#choose(WORLDS),
      ...this.#choose(TELLINGS),
    };
    let row = arithProblem(this.#random, rules);
    while (this.#heldOut.has(row.question)) row = arithProblem(this.#random, rules);
    const speed = this.#random.next() < this.#mix.speeds ? this.#random.pick(SPEEDS) : "";
    const mark = this.#random.next() < this.#mix.separators ? SEPARATOR : "\n";
    const question = questionText(row.question, speed);
    return `${question}${mark}${row.steps.join("\n")}${mark}Answer:${row.answer}`;
  }

  #choose<T>(choices: readonly (readonly [share: number, value: T])[]): T {
    return choices[this.#random.weighted(choices.map(([share]) => share))][1];
  }
}
