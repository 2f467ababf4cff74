/**
 * Scoring of generated text: which part is the answer, whether it is right, and how long the reasoning was.
 *
 * Source: the published CoLaR code (models/model_base.py: extract_answer_from_output, verify_answer, text_generate).
 * Numbers are read by Python's grammar of float(), not JavaScript's: `1e3`, `1_000`, ` 5 `, `inf` and Unicode's decimal
 * digits are numbers, `0x10` and "" are not, and `nan` equals nothing.
 */
import type { Tokenizer } from "../io/tokenizer.ts";

/** `released` does what the published code does, `corrected` what it means to do. */
export type Profile = "released" | "corrected";

const MARK = "Answer:";

/**
 * Finds the answer in generated text.
 * @returns what follows the first `Answer:`, up to a second one; the whole text where there is none
 */
export function extractAnswer(output: string): string {
  const parts = output.split(MARK);
  return parts.length > 1 ? parts[1] : output;
}

/**
 * Compares an extracted answer with the right one: as numbers if both are numbers, else as text. Line breaks and
 * spaces around it, full stops behind it and every comma do not count.
 */
export function verifyAnswer(rightAnswer: string, predicted: string): boolean {
  const [right, given] = [tidy(rightAnswer), tidy(predicted)];
  const [rightNumber, givenNumber] = [parsePythonFloat(right), parsePythonFloat(given)];
  if (rightNumber === undefined || givenNumber === undefined) return right === given;
  return rightNumber === givenNumber;
}

/**
 * Compares an extracted answer with the right one as `verifyAnswer` does, but lets numbers miss it by a share of it.
 * @param tolerance share of the right number, such as 0.001
 */
export function isWithin(rightAnswer: string, predicted: string, tolerance: number): boolean {
  if (verifyAnswer(rightAnswer, predicted)) return true;
  const [right, given] = [rightAnswer, predicted].map((text) => parsePythonFloat(tidy(text)));
  if (right === undefined || given === undefined || !Number.isFinite(right)) return false;
  return Math.abs(given - right) <= tolerance * Math.abs(right);
}

function tidy(answer: string): string {
  return answer.replace(/^[\n ]+|[\n ]+$/g, "").replace(/\.+$/, "").replaceAll(",", "");
}

/** Spaces that float() strips: the ASCII ones, and Unicode's in a string that is not all ASCII. */
const EDGES =
  /^[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+|[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$/g;
const DIGITS = "[0-9](?:_?[0-9])*";
const NUMBER = new RegExp(
  `^[+-]?(?:${DIGITS}(?:\\.(?:${DIGITS})?)?|\\.${DIGITS})(?:[eE][+-]?${DIGITS})?$`,
);
const NAMED = /^([+-]?)(?:(inf|infinity)|nan)$/i;

/**
 * Reads a number as Python's float() does.
 * @returns undefined where float() raises ValueError
 */
export function parsePythonFloat(text: string): number | undefined {
  const ascii = text.replace(EDGES, "").replace(/[^\0-\x7f]/gu, decimalDigit);
  if (NUMBER.test(ascii)) return Number(ascii.replaceAll("_", ""));
  const named = NAMED.exec(ascii);
  if (!named) return undefined;
  return named[2] ? (named[1] === "-" ? -Infinity : Infinity) : NaN;
}

/** The ASCII digit of a decimal digit of another script; other characters as they are. */
function decimalDigit(character: string): string {
  const isDigit = (code: number) => /^\p{Nd}$/u.test(String.fromCodePoint(code));
  const code = character.codePointAt(0)!;
  if (!isDigit(code)) return character;
  // Unicode keeps decimal digits in runs of whole tens, each from 0 to 9.
  let start = code;
  while (isDigit(start - 1)) start--;
  return String((code - start) % 10);
}

/**
 * Writes a number as Python's str() does a float: 39.0, 26.333333333333332, 1e+16.
 * @returns the shortest digits that give the number back, as an exponent below 1e-4 and from 1e16
 */
export function formatPythonFloat(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const magnitude = Math.abs(value);
  if (Object.is(value, -0)) return "-0.0";
  if (magnitude !== 0 && (magnitude < 1e-4 || magnitude >= 1e16)) {
    return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  }
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

/** What the length of a reasoning in text is counted with. */
export interface ReasoningTokens {
  readonly separatorId: number;
  /** Tokens that end the output; the first one and what follows it are not reasoning. */
  readonly endIds: readonly number[];
  /** `Answer` as it stands behind the separator. */
  readonly answerId: number;
  /** `:`, which `released` looks for. */
  readonly colonId: number;
}

/** @returns the tokens that `reasoningLength` needs */
export function reasoningTokens(
  tokenizer: Pick<Tokenizer, "encode" | "separatorId" | "eosId" | "padId">,
): ReasoningTokens {
  return {
    separatorId: tokenizer.separatorId,
    endIds: [tokenizer.eosId, tokenizer.padId],
    answerId: tokenizer.encode(MARK)[0],
    colonId: tokenizer.encode(":")[0],
  };
}

/**
 * Counts the reasoning tokens of generated text (#L of CoT).
 *
 * `corrected`: the tokens before the first `###`; without one, those before the first `Answer`; without that, all
 * before the end. `released`: the index of `###` minus 1; without one, the index of `:` minus 3; without that, the
 * width of the batch. It undercounts by one and can be negative (-2 for `Answer:3`).
 *
 * @param ids generated tokens without the prompt, [T]
 * @param batchWidth `released`: the longest output of the batch, to which the published code pads
 */
export function reasoningLength(
  ids: readonly number[],
  tokens: ReasoningTokens,
  profile: Profile = "corrected",
  batchWidth = ids.length,
): number {
  const separator = ids.indexOf(tokens.separatorId);
  if (profile === "released") {
    if (separator >= 0) return separator - 1;
    const colon = ids.indexOf(tokens.colonId);
    return colon >= 0 ? colon - 3 : batchWidth;
  }
  const end = ids.findIndex((id) => tokens.endIds.includes(id));
  const written = end >= 0 ? ids.slice(0, end) : ids;
  const stop = [tokens.separatorId, tokens.answerId].map((id) => written.indexOf(id))
    .find((index) => index >= 0);
  return stop ?? written.length;
}
