/**
 * A data set from where it is published, as rows of question, steps and answer in three parts.
 *
 * `source` is a folder or file on this disk, or a set of the Hub. Its files are converted by their columns once; the
 * rows are kept under a key of the files' hashes and of everything that decides how they are read. `test_split` says
 * which rows are tested: `test`, the set's own test rows, or `all` of its rows, as the paper does with SVAMP (1,000)
 * and MultiArith (600). With `all` no row is left to train on.
 *
 * A set without validation rows gives the last tenth of its training rows for it, as the published gsm8k.py does
 * (6,725 / 748 of GSM8K); MATH, whose files are sorted by subject, is shuffled before.
 *
 * **Deviations.** The published math.py shuffles files in the order in which the system lists them, which differs from
 * one machine to the next; here the order is that of subjects and rows, so the parts are the same everywhere.
 */
import { join } from "node:path";
import { keep, listLocalFiles, readHashed, readKept, sha256 } from "../io/dataset_files.ts";
import { type Split, SPLITS } from "../io/dataset.ts";
import { type HubOptions, hubSnapshot } from "../io/hub.ts";
import { type ColumnOptions, type ConvertedRows, convertRecords } from "./columns.ts";
import type { QsaDataset, QsaRow } from "./qsa.ts";
import { Random } from "./random.ts";
import { parseRecords, RECORD_FILE } from "./records.ts";
import {
  CONVERTED,
  filesBySplit,
  filesOfConfig,
  knownFiles,
  parseHubSource,
  PUBLISHED_FILES,
  type SplitFiles,
} from "./sources.ts";

/** Which rows are tested: the set's test rows, or all of its rows. */
export type TestSplit = "test" | "all";

/** What is read, and how. */
export interface SourceOptions extends ColumnOptions {
  /** A path, or `owner/name[/folder][@revision]`. */
  readonly source: string;
  readonly testSplit: TestSplit;
  /** How the Hub is asked. @default {as the environment's variables say, silently} */
  readonly hub?: HubOptions;
  /** Where converted sets are kept; undefined: nowhere. */
  readonly cacheFolder?: string;
}

/** Where rows came from. */
export interface SourceFacts {
  /** The source; a set of the Hub with its commit, so that it names the same rows for ever. */
  readonly origin: string;
  readonly files: readonly { readonly path: string; readonly sha256: string }[];
  /** Records that gave no row. */
  readonly numDropped: number;
  /** The file that keeps the rows; undefined where they could not be kept. */
  readonly kept?: string;
}

/** A data set and where it came from. */
export interface SourcedDataset extends QsaDataset {
  readonly facts: SourceFacts;
}

interface Converted {
  readonly train: readonly QsaRow[];
  readonly val: readonly QsaRow[];
  readonly test: readonly QsaRow[];
  readonly numDropped: number;
}

/** Files on this disk. */
interface Located {
  readonly files: SplitFiles;
  readonly origin: string;
  /** Holds the files; where a single file is the set, that file. */
  readonly folder: string;
}

/** A file with what is in it. */
interface ReadFile {
  readonly part: Split | "all";
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly sha256: string;
}

const VERSION = 1; // of the conversion: another number makes kept rows old
const TRAIN_SHARE = 0.9;

/**
 * Reads a data set and turns it into rows, or takes the rows that were kept.
 * @throws {TypeError} for a source that is nowhere, a file that cannot be read or a broken row, by name
 * @throws {RangeError} for a set without the part that is to be tested, or whose files tell no parts
 */
export async function loadSource(options: SourceOptions): Promise<SourcedDataset> {
  const { gsm8kSteps, questionText, boxedAnswer, testSplit, cacheFolder: folder } = options;
  const located = await locate(options);
  checkParts(located, testSplit);
  const files = await readAll(located);
  const columns = { gsm8kSteps, questionText, boxedAnswer };
  const hashes = files.map(({ part, path, sha256 }) => ({ part, path, sha256 }));
  const key = (await sha256(JSON.stringify([VERSION, columns, testSplit, hashes]))).slice(0, 32);
  const found = await readKept(folder, key) as Converted | undefined;
  const converted = found ?? await convert(files, columns, testSplit);
  const kept = found && folder
    ? join(folder, `${key}.json`)
    : await keep(folder, key, { ...converted });
  const { train, val, test, numDropped } = converted;
  const facts = { origin: located.origin, files: hashes, numDropped, kept };
  return { train, val, test, facts };
}

/** Lines that tell what was read: counts and split, files with their hashes, and what was left out. */
export function sourceLines(
  name: string,
  testSplit: TestSplit,
  { train, val, test, facts }: SourcedDataset,
): string[] {
  const { origin, files, numDropped, kept } = facts;
  return [
    `${name}: ${train.length} train, ${val.length} val, ${test.length} test rows ` +
    `(test_split=${testSplit}) of ${origin}`,
    ...files.map(({ path, sha256 }) => {
      const published = Object.hasOwn(PUBLISHED_FILES, sha256) ? PUBLISHED_FILES[sha256] : "";
      return `  ${path}: sha256 ${sha256}${published && `, ${published}`}`;
    }),
    ...numDropped > 0
      ? [`  ${numDropped} ${numDropped === 1 ? "row has" : "rows have"} no answer that can be read`]
      : [],
    kept ? `  kept as ${kept}` : "  not kept: there is no cache folder that can be written",
  ];
}

async function locate(options: SourceOptions): Promise<Located> {
  const { source, hub } = options;
  const local = await listLocalFiles(source, (name) => RECORD_FILE.test(name));
  if (local?.[0] === "") return { files: { all: [""] }, origin: source, folder: source };
  if (local) return { files: filesBySplit(local, source), origin: source, folder: source };
  const named = parseHubSource(source);
  if (!named) {
    throw new TypeError(
      `source: no file or folder '${source}', and no set of the Hub, which is owner/name; ` +
        "configs/datasets has examples",
    );
  }
  const { repo: name, folder: config } = named;
  const known = knownFiles(named);
  const revision = named.revision ?? (known ? "main" : CONVERTED);
  let files: SplitFiles = {};
  const { folder, commit } = await hubSnapshot(
    { kind: "dataset", name, revision },
    (paths, _read, subject) => {
      files = known ?? filesBySplit(filesOfConfig([...paths], config), name);
      const chosen = Object.values(files).flat();
      const missing = chosen.find((path) => !paths.has(path));
      if (missing === undefined) return Promise.resolve(chosen);
      throw new RangeError(`${subject} has no ${missing}; name a revision that has it`);
    },
    hub,
  );
  return { files, origin: `${[name, ...config ? [config] : []].join("/")}@${commit}`, folder };
}

function checkParts({ files, origin }: Located, testSplit: TestSplit): void {
  if (testSplit === "all" || files.test) return;
  const parts = Object.keys(files).join(", ");
  throw new RangeError(
    `test_split is 'test', but ${origin} has no test part (${parts}); set test_split=all to test every row`,
  );
}

async function readAll({ files, folder }: Located): Promise<ReadFile[]> {
  const read: ReadFile[] = [];
  for (const part of [...SPLITS, "all"] as const) {
    for (const path of files[part] ?? []) {
      const place = path === "" ? folder : join(folder, path);
      read.push({ part, path: path || place, ...await readHashed(place) });
    }
  }
  return read;
}

async function convert(
  files: readonly ReadFile[],
  columns: ColumnOptions,
  testSplit: TestSplit,
): Promise<Converted> {
  const parts: Record<Split | "all", QsaRow[]> = { train: [], val: [], test: [], all: [] };
  let numDropped = 0;
  let form: ConvertedRows["form"] = "";
  for (const { part, path, bytes } of files) {
    const converted = convertRecords(path, await parseRecords(path, bytes), columns);
    parts[part] = parts[part].concat(converted.rows);
    numDropped += converted.numDropped;
    form = converted.form;
  }
  if (testSplit === "all") {
    const test = [...parts.train, ...parts.val, ...parts.test, ...parts.all];
    return { train: [], val: [], test, numDropped };
  }
  const { test } = parts;
  if (parts.val.length > 0) return { train: parts.train, val: parts.val, test, numDropped };
  const rows = form === "math" ? shuffled(parts.train) : parts.train;
  const numTrain = Math.floor(TRAIN_SHARE * rows.length);
  return { train: rows.slice(0, numTrain), val: rows.slice(numTrain), test, numDropped };
}

/** Rows in an order that never changes (Fisher and Yates). */
function shuffled(rows: readonly QsaRow[]): QsaRow[] {
  const order = [...rows];
  const random = new Random(0);
  for (let i = order.length - 1; i > 0; i--) {
    const j = random.integer(0, i);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
