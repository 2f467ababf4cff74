/**
 * Records of the data sets to rows of question, steps and answer; the columns tell which set a record is of.
 *
 * | columns                              | set                | question             | steps               | answer            |
 * | ------------------------------------ | ------------------ | -------------------- | ------------------- | ----------------- |
 * | question, steps, answer              | our own, whynlp's  | as is                | as they are         | as is             |
 * | question, cot, answer                | GSM8k-Aug          | as is                | one per equation    | as is             |
 * | question, answer with `#### n`       | GSM8K              | as is                | lines, or equations | behind `####`     |
 * | input, code, target                  | GSM-Hard           | input                | the code, one step  | str(target)       |
 * | Body, Question, Equation, Answer     | SVAMP              | Body, Question       | the equation        | str(Answer)       |
 * | sQuestion, lEquations, lSolutions    | MultiArith         | sQuestion            | the equations       | str(lSolutions[0])|
 * | question, final_ans                  | MultiArith, Hub    | question             | none                | as is             |
 * | problem, solution                    | MATH               | as is                | the solution        | in its `\boxed{}` |
 *
 * `str` is Python's, so that an answer that is a float reads `39.0` as in the published files; scoring compares numbers.
 *
 * Source: the published CoLaR code (data_preprocessing/), and Coconut's (preprocessing/gsm_icot.py) for GSM8k-Aug.
 */
import { formatPythonFloat } from "./answer.ts";
import { type BoxedAnswer, splitBoxed } from "./boxed.ts";
import { parseQsa, type QsaRow } from "./qsa.ts";
import type { DataRecord } from "./records.ts";

/** Where the published scripts and plain sense differ. */
export interface ColumnOptions {
  /** GSM8K's steps: its sentences, or only the equations in them, as in GSM8k-Aug. */
  readonly gsm8kSteps: "sentences" | "equations";
  /** Tidy, or with the second full stop of 642 rows of SVAMP and the outer spaces of MultiArith. */
  readonly questionText: "as-released" | "tidy";
  /** Where MATH's answer ends. */
  readonly boxedAnswer: BoxedAnswer;
}

/** Rows, and how many records gave none. */
export interface ConvertedRows {
  readonly rows: readonly QsaRow[];
  /** Records of MATH without a box that can be read. */
  readonly numDropped: number;
  /** The form that the columns told. */
  readonly form: string;
}

interface Form {
  readonly name: string;
  readonly columns: readonly string[];
  readonly convert: (record: DataRecord, options: ColumnOptions) => unknown;
}

// The first form whose columns a file has is taken, so those with more columns stand first.
const FORMS: readonly Form[] = [
  { name: "qsa", columns: ["question", "steps", "answer"], convert: (record) => record },
  {
    name: "gsm8k_aug",
    columns: ["question", "cot", "answer"],
    convert: ({ question, cot, answer }) => ({ question, steps: equationsOf(cot), answer }),
  },
  { name: "gsm8k", columns: ["question", "answer"], convert: gsm8k },
  {
    name: "gsm_hard",
    columns: ["input", "code", "target"],
    convert: ({ input, code, target }) => ({ question: input, steps: [code], answer: str(target) }),
  },
  {
    name: "svamp",
    columns: ["Body", "Question", "Equation", "Answer"],
    convert: ({ Body, Question, Equation, Answer }, { questionText }) => ({
      question: typeof Body === "string" && typeof Question === "string"
        ? `${questionText === "tidy" ? withoutFullStop(Body) : Body}. ${Question}`
        : undefined,
      steps: [Equation],
      answer: str(Answer),
    }),
  },
  {
    name: "multiarith",
    columns: ["sQuestion", "lEquations", "lSolutions"],
    convert: ({ sQuestion, lEquations, lSolutions }, { questionText }) => ({
      question: questionText === "tidy" ? trimmed(sQuestion) : sQuestion,
      steps: lEquations,
      answer: str(Array.isArray(lSolutions) ? lSolutions[0] : lSolutions),
    }),
  },
  {
    name: "multiarith",
    columns: ["question", "final_ans"],
    convert: ({ question, final_ans }, { questionText }) => ({
      question: questionText === "tidy" ? trimmed(question) : question,
      steps: [],
      answer: typeof final_ans === "number" ? String(final_ans) : str(final_ans),
    }),
  },
  {
    name: "math",
    columns: ["problem", "solution"],
    convert: ({ problem, solution }, { boxedAnswer }) => {
      const parts = splitBoxed(String(solution), boxedAnswer);
      return parts && { question: problem, ...parts };
    },
  },
];

/**
 * Converts a file's records.
 * @param file its name, for messages
 * @throws {TypeError} for columns of no known set, or naming the row and field of the first broken row
 * @throws {RangeError} for a file without rows
 */
export function convertRecords(
  file: string,
  records: readonly DataRecord[],
  options: ColumnOptions,
): ConvertedRows {
  if (records.length === 0) throw new RangeError(`${file}: has no rows`);
  const has = new Set(Object.keys(records[0]));
  const form = FORMS.find(({ columns }) => columns.every((column) => has.has(column)));
  if (!form) {
    const known = FORMS.map(({ columns }) => columns.join("+")).join(", ");
    throw new TypeError(
      `${file}: has the columns ${[...has].join(", ")}; a data set has one of ${known}`,
    );
  }
  const converted = records.map((record) => form.convert(record, options));
  const kept = converted.filter((row) => row !== undefined);
  if (kept.length === 0) throw new RangeError(`${file}: no row has an answer in \\boxed{}`);
  const numDropped = records.length - kept.length;
  return { rows: parseQsa(kept, file), numDropped, form: form.name };
}

/** GSM8K's solution: sentences with equations in `<<>>`, and the answer in a last line of its own. */
function gsm8k({ question, answer }: DataRecord, { gsm8kSteps }: ColumnOptions): unknown {
  const text = String(answer);
  const mark = text.lastIndexOf("####");
  if (mark < 0) return { question, steps: undefined, answer };
  const solution = text.slice(0, mark).trim();
  const steps = gsm8kSteps === "equations" ? marksIn(solution) : solution.split("\n");
  return { question, steps, answer: text.slice(mark + 4).trim() };
}

/** Steps of GSM8k-Aug, a list or one string; [""] for a row without an equation, as Coconut's files have it. */
function equationsOf(cot: unknown): unknown {
  if (Array.isArray(cot)) return cot.length > 0 ? cot : [""];
  if (typeof cot !== "string") return cot;
  return cot.includes("<<") ? marksIn(cot) : cot.trim().split("\n");
}

function marksIn(text: string): string[] {
  return text.match(/<<.*?>>/g) ?? [""];
}

function withoutFullStop(text: string): string {
  return text.replace(/[\s.]+$/, "");
}

function trimmed(text: unknown): unknown {
  return typeof text === "string" ? text.trim() : text;
}

/** A float as the published files write it; JSON does not tell 39.0 from 39, but these columns hold floats. */
function str(value: unknown): unknown {
  if (typeof value === "bigint") return String(value); // a long integer of parquet
  return typeof value === "number" ? formatPythonFloat(value) : value;
}
