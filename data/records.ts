/**
 * Files of data sets, parsed into records: JSON arrays, JSON lines, parquet, and the text lines of GSM8k-Aug.
 *
 * A `.json` file may hold an array or, as on the Hub, a record per line. Parquet is read by the npm package `hyparquet`
 * with the codecs of `hyparquet-compressors`. A text line is `question||<<1+2=3>> <<...>> #### answer`, the form in
 * which GSM8k-Aug was published (da03/Internalize_CoT_Step_by_Step).
 */
import { refuseLfsPointer } from "../io/lfs_pointer.ts";

/** One row of a file, by column. */
export type DataRecord = Readonly<Record<string, unknown>>;

/** Endings of the files that can be read. */
export const RECORD_FILE = /\.(jsonl?|parquet|txt)$/i;

/**
 * Parses a file.
 * @param file its name, whose ending tells the format, and which messages name
 * @throws {TypeError} naming file and line of what cannot be read
 */
export async function parseRecords(file: string, bytes: Uint8Array): Promise<DataRecord[]> {
  const [, ending] = RECORD_FILE.exec(file) ?? [];
  if (ending === undefined) {
    throw new TypeError(`${file}: a data set's file ends in .json, .jsonl, .parquet or .txt`);
  }
  refuseLfsPointer(bytes, file);
  if (ending.toLowerCase() === "parquet") return await parseParquet(file, bytes);
  const text = decode(file, bytes);
  if (ending.toLowerCase() === "txt") return parseLines(file, text, augmentedLine);
  const records = text.trimStart().startsWith("[")
    ? parseJson(file, text) as unknown[]
    : parseLines(file, text, parseJson);
  return records.map((record, index) => {
    if (typeof record === "object" && record !== null && !Array.isArray(record)) {
      return record as DataRecord;
    }
    throw new TypeError(`${file}: row ${index}: expected an object with columns`);
  });
}

function decode(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new TypeError(`${file}: not UTF-8; convert it, as with iconv -t UTF-8`, { cause });
  }
}

function parseLines<T>(file: string, text: string, parse: (where: string, line: string) => T): T[] {
  return text.split("\n").flatMap((line, index) =>
    line.trim() === "" ? [] : [parse(`${file}: line ${index + 1}`, line)]
  );
}

function parseJson(where: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    // V8 quotes the text around the fault, line breaks included.
    const fault = (cause as Error).message.replace(/\s+/g, " ");
    throw new TypeError(`${where}: not valid JSON (${fault})`, { cause });
  }
}

function augmentedLine(where: string, line: string): DataRecord {
  const bar = line.indexOf("||");
  const mark = line.lastIndexOf("####");
  if (bar < 0 || mark < bar) {
    throw new TypeError(`${where}: expected question||<<1+2=3>> ... #### answer`);
  }
  const [question, cot, answer] = [
    line.slice(0, bar),
    line.slice(bar + 2, mark),
    line.slice(mark + 4),
  ];
  return { question, cot: cot.trim(), answer: answer.trim() };
}

async function parseParquet(file: string, bytes: Uint8Array): Promise<DataRecord[]> {
  const { parquetReadObjects } = await import("hyparquet"); // most runs never need it
  const { compressors } = await import("hyparquet-compressors");
  try {
    const copied = bytes.slice().buffer; // the reader wants a buffer of its own
    return await parquetReadObjects({ file: copied, compressors });
  } catch (cause) {
    const fault = (cause as Error).message.replace(/\s+/g, " ");
    throw new TypeError(`${file}: not a parquet file that can be read (${fault})`, { cause });
  }
}
