/**
 * Rows of question, steps and answer (QSA): what every data set becomes, and the rules that a file of them keeps.
 *
 * A folder holds train.json, val.json and test.json, each a JSON array of `{"question": "...", "steps": ["..."],
 * "answer": "..."}`: the format of the published code, in which GSM8k-Aug is also distributed with Coconut. Other keys
 * are ignored. A row may have no step (`[]` or `[""]`) and an answer that is no number: GSM8k-Aug has both.
 */
import { readSplitFiles, SPLITS } from "../io/dataset.ts";

/** One problem with its worked steps. */
export interface QsaRow {
  readonly question: string;
  /** Equations such as `<<12+7=19>>`, or sentences: one step each, without line breaks at the ends. */
  readonly steps: readonly string[];
  readonly answer: string;
}

/** The three parts of a data set. */
export interface QsaDataset {
  readonly train: readonly QsaRow[];
  readonly val: readonly QsaRow[];
  readonly test: readonly QsaRow[];
}

const FORM = '{"question": "...", "steps": ["..."], "answer": "..."}';

/**
 * Checks a parsed JSON file of rows.
 * @param json the file's value
 * @param file its name, for messages
 * @returns the rows, without keys that are not theirs
 * @throws {TypeError} naming file, row (counted from 0) and field of the first broken row, in one line
 * @throws {RangeError} for an empty split
 */
export function parseQsa(json: unknown, file: string): QsaRow[] {
  if (!Array.isArray(json)) {
    throw new TypeError(`${file}: expected a JSON array of rows ${FORM}, got ${show(json)}`);
  }
  if (json.length === 0) throw new RangeError(`${file}: has no rows; a split needs at least one`);
  return json.map((row, index) => parseRow(row, `${file}: row ${index}`));
}

function parseRow(row: unknown, where: string): QsaRow {
  if (typeof row !== "object" || row === null || Array.isArray(row)) {
    throw new TypeError(`${where}: expected ${FORM}, got ${show(row)}`);
  }
  const { question, steps, answer } = row as Record<string, unknown>;
  if (typeof question !== "string" || question.trim() === "") {
    throw new TypeError(`${where}: 'question' must be a string with text, got ${show(question)}`);
  }
  if (!Array.isArray(steps)) {
    throw new TypeError(
      `${where}: 'steps' must be a list of strings, got ${
        show(steps)
      }; write [] where there is none`,
    );
  }
  steps.forEach((step, i) => {
    if (typeof step === "string") return;
    throw new TypeError(`${where}: 'steps[${i}]' must be a string, got ${show(step)}`);
  });
  if (typeof answer !== "string" || answer.trim() === "") {
    const isNumber = typeof answer === "number" || typeof answer === "bigint";
    const hint = isNumber ? `; write "${answer}"` : "";
    throw new TypeError(
      `${where}: 'answer' must be a string with text, got ${show(answer)}${hint}`,
    );
  }
  return { question, steps, answer };
}

/**
 * Loads a folder with train.json, val.json and test.json.
 * @throws {TypeError} for a file that cannot be read, is not JSON or has a broken row, by name
 * @throws {RangeError} for an empty split
 */
export async function loadQsa(folder: string): Promise<QsaDataset> {
  const files = await readSplitFiles(folder);
  const [train, val, test] = SPLITS.map((split) => parseQsa(files[split].json, files[split].file));
  return { train, val, test };
}

/**
 * The first rows of every split, to try a run in a minute (`tiny_dataset=True`).
 * @param numRows rows kept of each split
 */
export function tinyDataset(dataset: QsaDataset, numRows = 32): QsaDataset {
  const { train, val, test } = dataset;
  return {
    train: train.slice(0, numRows),
    val: val.slice(0, numRows),
    test: test.slice(0, numRows),
  };
}

/** A value as a message shows it: JSON, cut to 40 characters. */
function show(value: unknown): string {
  // Parquet's long integers are bigints, which JSON does not know.
  const plain = (_: string, item: unknown) => typeof item === "bigint" ? Number(item) : item;
  const text = JSON.stringify(value, plain) ?? String(value);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}
