/**
 * MATH's answers: the expression in the `\boxed{}` of a solution, and the solution around it as steps.
 *
 * `balanced` takes the last box and closes it at the brace that matches, so that `\boxed{\frac{1}{2}}.` gives
 * `\frac{1}{2}`; `\fbox{}` and a box around one token (`\boxed 7`) count too. `as-released` does what the published
 * math.py does (audit, B10): a solution with several boxes or none is dropped, and the box ends at the last brace of
 * all the text that follows, so that trailing TeX can leak into the answer.
 */

/** Where a box ends. */
export type BoxedAnswer = "as-released" | "balanced";

/** A solution taken apart. */
export interface BoxedSolution {
  /** The text with the box replaced by what is in it, one step per line, without empty lines. */
  readonly steps: readonly string[];
  readonly answer: string;
}

const BOX = "\\boxed{";
const OPENING = /\\(?:boxed|fbox)\s*(?=\{)|\\boxed\s+(?=[^\s{])/g;

/**
 * Takes a solution apart.
 * @returns undefined for a solution that is dropped: it has no box that can be read
 */
export function splitBoxed(solution: string, mode: BoxedAnswer): BoxedSolution | undefined {
  const box = mode === "balanced" ? balancedBox(solution) : releasedBox(solution);
  if (!box || box.answer.trim() === "") return undefined;
  const text = solution.slice(0, box.start) + box.answer + solution.slice(box.end);
  const steps = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return { steps, answer: box.answer.trim() };
}

interface Box {
  /** Indices of the solution between which the box stands, its command included. */
  readonly start: number;
  readonly end: number;
  readonly answer: string;
}

function balancedBox(solution: string): Box | undefined {
  const opening = [...solution.matchAll(OPENING)].at(-1);
  if (!opening) return undefined;
  const begin = opening.index + opening[0].length;
  if (solution[begin] !== "{") {
    const [token] = /^(?:\\[A-Za-z]+|[^\s$.,;]+)/.exec(solution.slice(begin)) ?? [];
    return token === undefined
      ? undefined
      : { start: opening.index, end: begin + token.length, answer: token };
  }
  const end = matchingBrace(solution, begin);
  if (end === undefined) return undefined;
  return { start: opening.index, end: end + 1, answer: solution.slice(begin + 1, end) };
}

/** The index of the brace that closes the one at `begin`; `\{` and `\}` are characters, not braces. */
function matchingBrace(text: string, begin: number): number | undefined {
  let depth = 0;
  for (let i = begin; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "{") depth++;
    else if (text[i] === "}" && --depth === 0) return i;
  }
  return undefined;
}

function releasedBox(solution: string): Box | undefined {
  const start = solution.indexOf(BOX);
  if (start < 0 || solution.includes(BOX, start + 1)) return undefined;
  const end = solution.lastIndexOf("}");
  if (end < start + BOX.length) return undefined;
  return { start, end: end + 1, answer: solution.slice(start + BOX.length, end) };
}
