/** The files of a data set folder: train.json, val.json and test.json, read and parsed; data/ knows what rows mean. */
import { join } from "node:path";

/** The parts of a data set, in the order in which a run uses them. */
export const SPLITS = ["train", "val", "test"] as const;

/** One part of a data set. */
export type Split = typeof SPLITS[number];

/** A parsed JSON file under the name that messages give it. */
export interface JsonFile {
  readonly file: string;
  readonly json: unknown;
}

/**
 * Reads a data set folder.
 * @returns the parsed file of every split
 * @throws {TypeError} when the folder is missing, a split's file cannot be read, or it is not JSON
 */
export async function readSplitFiles(folder: string): Promise<Record<Split, JsonFile>> {
  const isFolder = await Deno.stat(folder).then((found) => found.isDirectory, () => false);
  if (!isFolder) {
    throw new TypeError(
      `${folder}: no such folder; a data set is 'arith' or a folder with train.json, val.json and test.json`,
    );
  }
  const [train, val, test] = await Promise.all(SPLITS.map((split) => readJson(folder, split)));
  return { train, val, test };
}

async function readJson(folder: string, split: Split): Promise<JsonFile> {
  const file = join(folder, `${split}.json`);
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (cause) {
    throw new TypeError(
      `${file}: cannot be read; a data set folder has train.json, val.json and test.json`,
      { cause },
    );
  }
  try {
    return { file, json: JSON.parse(text) };
  } catch (cause) {
    // V8 quotes the text around the fault, line breaks included.
    const fault = (cause as Error).message.replace(/\s+/g, " ");
    throw new TypeError(`${file}: not valid JSON (${fault})`, { cause });
  }
}
