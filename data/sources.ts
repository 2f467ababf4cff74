/**
 * Where the parts of a data set lie: the files of the Hub's sets, and which part of a set a file's name tells.
 *
 * A set that is not listed is read through the branch into which the Hub converts every set, whose files are
 * `CONFIG/SPLIT/0000.parquet`. A folder on the disk is read by the same rule of names, so a set that was downloaded
 * from the Hub, or the original files, work alike.
 */
import type { Split } from "../io/dataset.ts";
import { parseHubId } from "../io/hub_cache.ts";
import { RECORD_FILE } from "./records.ts";

/** The files of each part; `all` where a set has no parts. */
export type SplitFiles = Readonly<Partial<Record<Split | "all", readonly string[]>>>;

/** A set of the Hub. */
export interface HubSource {
  /** `owner/name`. */
  readonly repo: string;
  /** A folder of it, one configuration of the set. */
  readonly folder?: string;
  /** Branch, tag or commit; undefined for what the set's entry or the converted branch says. */
  readonly revision?: string;
}

/** The branch with every set as parquet. */
export const CONVERTED = "refs/convert/parquet";

const MATH_SUBJECTS = [
  "algebra",
  "counting_and_probability",
  "geometry",
  "intermediate_algebra",
  "number_theory",
  "prealgebra",
  "precalculus",
];

/** Files of the sets whose original files we know, by the Hub's name in small letters. */
const HUB_FILES: Readonly<Record<string, SplitFiles>> = {
  "openai/gsm8k": {
    train: ["main/train-00000-of-00001.parquet"],
    test: ["main/test-00000-of-00001.parquet"],
  },
  "reasoning-machines/gsm-hard": { all: ["gsmhardv2.jsonl"] },
  "chilled/svamp": { train: ["train.json"], test: ["test.json"] },
  "chilled/multiarith": { train: ["train.json"], test: ["test.json"] },
  "eleutherai/hendrycks_math": {
    train: MATH_SUBJECTS.map((subject) => `${subject}/train-00000-of-00001.parquet`),
    test: MATH_SUBJECTS.map((subject) => `${subject}/test-00000-of-00001.parquet`),
  },
  "huggingfaceh4/math-500": { all: ["test.jsonl"] },
};

/** Files that their publisher's page names by SHA-256. */
export const PUBLISHED_FILES: Readonly<Record<string, string>> = {
  "0a3909a9e7d8d2f7ad6b8c7b5608aa744988d835f9bf874d4cf06ca77df6bf8c":
    "GSM8k-Aug's train.txt as published",
};

const WORDS: Readonly<Record<string, Split>> = {
  train: "train",
  val: "val",
  valid: "val",
  validation: "val",
  dev: "val",
  test: "test",
};

/**
 * Reads `owner/name`, `owner/name/folder`, and either with `@revision`.
 * @returns undefined for text that is none
 */
export function parseHubSource(text: string): HubSource | undefined {
  const match = /^(\w[\w.-]*\/\w[\w.-]*)(?:\/([\w./-]+?))?(?:@(\S+))?$/.exec(text);
  if (!match) return undefined;
  const [, repo, folder, revision] = match;
  // Names and revisions become folders of the cache.
  const isId = parseHubId(revision === undefined ? repo : `${repo}@${revision}`, "dataset");
  return isId ? { repo, folder, revision } : undefined;
}

/** The files of a set of the Hub; undefined for one whose files must be listed. */
export function knownFiles({ repo, folder }: HubSource): SplitFiles | undefined {
  const key = repo.toLowerCase();
  return folder === undefined && Object.hasOwn(HUB_FILES, key) ? HUB_FILES[key] : undefined;
}

/** The files of the configuration that a set is read in where none is asked for: `default` or `main`, else all. */
export function filesOfConfig(paths: readonly string[], folder?: string): readonly string[] {
  const below = (config: string) => paths.filter((path) => path.startsWith(`${config}/`));
  if (folder !== undefined) return below(folder);
  return [below("default"), below("main")].find((files) => files.length > 0) ?? paths;
}

/**
 * Sorts files into parts by their names: `train.json`, `main/test-00000-of-00001.parquet`, `default/validation/0000.parquet`.
 * @param listed the set's files, relative to it; those that are no data files do not count
 * @param origin the set, for messages
 * @throws {RangeError} where there is no data file, several that name no part, or two forms of one part
 */
export function filesBySplit(listed: readonly string[], origin: string): SplitFiles {
  const paths = listed.filter((path) => RECORD_FILE.test(path)).sort();
  const found: Partial<Record<Split, string[]>> = {};
  for (const path of paths) {
    const split = splitOf(path);
    if (split) (found[split] ??= []).push(path);
  }
  const splits = Object.entries(found);
  if (splits.length === 0) {
    if (paths.length === 1) return { all: paths };
    const what = paths.length === 0
      ? "has no .json, .jsonl, .parquet or .txt file"
      : `has ${paths.length} data files and none is named train, val or test`;
    throw new RangeError(`${origin}: ${what}; name one file, as in source=${origin}/FILE`);
  }
  for (const [split, files] of splits) {
    const endings = new Set(files.map((file) => file.slice(file.lastIndexOf("."))));
    const configs = new Set(files.map(configOf));
    if (endings.size > 1 || configs.size > 1 && !isMath(configs)) {
      throw new RangeError(
        `${origin}: ${split} is there several times (${files.join(", ")}); ` +
          `name a folder below it, as in source=${origin}/FOLDER`,
      );
    }
  }
  return found;
}

function isMath(configs: ReadonlySet<string>): boolean {
  return [...configs].every((config) => MATH_SUBJECTS.includes(config.split("/")[0]));
}

/** The part that a path names: by its file's name up to the first `-` or `.`, else by its folder's. */
function splitOf(path: string): Split | undefined {
  const parts = path.split("/");
  const stem = parts.at(-1)!.split(/[-.]/)[0].toLowerCase();
  const folder = parts.at(-2)?.toLowerCase() ?? "";
  if (Object.hasOwn(WORDS, stem)) return WORDS[stem];
  return /^\d+$/.test(stem) && Object.hasOwn(WORDS, folder) ? WORDS[folder] : undefined;
}

/** The folder above the part's: a configuration of the set. */
function configOf(path: string): string {
  const folders = path.split("/").slice(0, -1);
  const isSplit = Object.hasOwn(WORDS, folders.at(-1)?.toLowerCase() ?? "");
  return (isSplit ? folders.slice(0, -1) : folders).join("/");
}
