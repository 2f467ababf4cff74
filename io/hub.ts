/**
 * Models and data sets of the Hub as folders: `owner/name` or `owner/name@revision`, fetched once, then read from the cache.
 *
 * A revision is first turned into a commit, and everything else is asked for by that commit. What the cache knows counts
 * as the answer: a complete snapshot is used without a request, also where its branch has moved on since; naming another
 * commit fetches that one. Of a model only what this program reads is fetched: config.json, the tokenizer's two files and
 * the safetensors, never a pickle nor the same weights in a second format. A file is judged by its name when it is
 * chosen: one that could lead out of the cache is refused then, and elsewhere in the repository does not matter.
 *
 * `@huggingface/hub` asks for commits and lists files. Its download is not used: it knows no resuming, no check of what
 * arrived and no offline mode (hub_download.ts, hub_cache.ts do).
 */
import {
  checkedFile,
  checkPath,
  etagOf,
  type HubFile,
  type HubRepo,
  isCommit,
  RepoCache,
  shownPath,
} from "./hub_cache.ts";
import { HubClient, type HubClientOptions } from "./hub_client.ts";
import { diskError, downloadBlob, type DownloadOptions } from "./hub_download.ts";
import { type HubSettings, hubSettings } from "./hub_settings.ts";
import type { Report } from "./report.ts";
import { OTHER_WEIGHTS } from "./safetensors.ts";
import { SPECIAL_TOKENS, TOKENIZER, TOKENIZER_CONFIG } from "./tokenizer_files.ts";

/** How the Hub is asked; tests replace the parts. */
export interface HubOptions
  extends Pick<HubClientOptions, "signal" | "sleep" | "silenceMs">, Pick<DownloadOptions, "open"> {
  /** @default {what the environment's variables say} */
  readonly settings?: HubSettings;
  /** Shows progress and why something takes long. @default {nothing is shown} */
  readonly report?: Pick<Report, "show" | "progress">;
}

/** A repository's files at a commit. */
export interface Snapshot {
  readonly folder: string;
  /** `owner/name`. */
  readonly name: string;
  /** 40 hexadecimal digits. */
  readonly commit: string;
}

/** The files that are to be read, out of those that a repository has; `read` gives the text of one. */
export type Choice = (
  paths: ReadonlySet<string>,
  read: (path: string) => Promise<string>,
  subject: string,
) => Promise<readonly string[]>;

const CONFIG = ["config.json", TOKENIZER, TOKENIZER_CONFIG];
const WEIGHTS = "model.safetensors";

/** Names the shards of weights that are in several files. */
export const INDEX = `${WEIGHTS}.index.json`;

/**
 * The files of a model: its configuration, its tokenizer and its weights in one format.
 * @throws {RangeError} naming the file that is not there
 */
export const modelFiles: Choice = async (paths, read, subject) => {
  const missing = CONFIG.find((path) => !paths.has(path));
  if (missing) {
    throw new RangeError(
      `${subject} has no ${missing}; name a model that has ${CONFIG.join(", ")}`,
    );
  }
  const config = [...CONFIG, ...present(paths, SPECIAL_TOKENS)];
  if (paths.has(WEIGHTS)) return [...config, WEIGHTS];
  if (!paths.has(INDEX)) {
    const other = [...paths].find((path) => OTHER_WEIGHTS.test(path));
    const what = other
      ? `; ${shownPath(other)} is not read: only ${WEIGHTS}, whole or in shards, is`
      : "";
    throw new RangeError(
      `${subject} has no ${WEIGHTS}${what}; name a model or revision that has it`,
    );
  }
  const shards = shardsOf(await read(INDEX), subject);
  const lost = shards.find((path) => !paths.has(path));
  if (lost) {
    throw new RangeError(
      `${subject} has no ${lost}, which its ${INDEX} names; name another revision`,
    );
  }
  return [...config, INDEX, ...shards];
};

/**
 * The files of a model's tokenizer.
 * @throws {RangeError} naming the file that is not there
 */
export const tokenizerFiles: Choice = async (paths, read, subject) => [
  ...await namedFiles(TOKENIZER, TOKENIZER_CONFIG)(paths, read, subject),
  ...present(paths, "config.json", SPECIAL_TOKENS),
];

/** Those of files that a repository need not have. */
function present(paths: ReadonlySet<string>, ...names: readonly string[]): string[] {
  return names.filter((name) => paths.has(name));
}

/** A choice of files by name, such as a data set's. */
export function namedFiles(...names: readonly string[]): Choice {
  return (paths, _read, subject) => {
    const missing = names.find((name) => !paths.has(name));
    if (missing === undefined) return Promise.resolve(names);
    return Promise.reject(
      new RangeError(`${subject} has no ${missing}; name a revision that has it`),
    );
  };
}

/**
 * The folder of a repository's files, fetched where the cache lacks them.
 * @throws {RangeError} for what the user can mend: an unknown name, a missing right, an empty cache without a network;
 * {SyntaxError} for content that is not what was listed; {Error} with its cause when the connection or the disk fails.
 */
export async function hubSnapshot(
  repo: HubRepo,
  choose: Choice,
  options: HubOptions = {},
): Promise<Snapshot> {
  return await fromCacheOr(repo, choose, options, async ({ snapshot, chosen, fetch }) => {
    await fetch(chosen);
    return snapshot;
  });
}

/** A commit that the cache does not have whole: what the Hub lists of it, and how to get that. */
export interface RemoteCommit {
  readonly client: HubClient;
  /** Its folder holds what is in `here`, and what was fetched. */
  readonly snapshot: Snapshot;
  readonly files: ReadonlyMap<string, HubFile>;
  readonly chosen: readonly string[];
  /** The files that are here, whole. */
  readonly here: ReadonlySet<string>;
  /** The address of a file's content. */
  readonly urlOf: (path: string) => string;
  /** Fetches those of these files that are not here. */
  readonly fetch: (paths: readonly string[]) => Promise<void>;
}

/**
 * A repository's snapshot where the cache has all that is chosen, else what `work` makes of the commit.
 * @throws as {@link hubSnapshot} does.
 */
export async function fromCacheOr<T>(
  repo: HubRepo,
  choose: Choice,
  options: HubOptions,
  work: (remote: RemoteCommit) => Promise<T>,
): Promise<Snapshot | T> {
  const { settings = hubSettings() } = options;
  const subject = `${repo.kind} ${repo.name}@${repo.revision}`;
  if (settings.cache === undefined) {
    throw new RangeError(`${subject}: no folder to keep it in is known; set HF_HOME to one`);
  }
  const cache = new RepoCache(settings.cache, repo);
  const known = await cache.commit();
  const missing = known === undefined ? "it" : await missingIn(cache, known, choose, settings);
  if (known !== undefined && missing === undefined) return snapshotOf(cache, known);
  if (settings.isOffline) {
    throw new RangeError(
      `${subject}: HF_HUB_OFFLINE is set, and ${settings.cache} lacks ${missing}; ` +
        "fetch it where there is a network, or name a folder",
    );
  }
  try {
    return await work(await askFor(cache, choose, subject, { ...options, settings }));
  } catch (error) {
    throw diskError(error, subject, `to ${settings.cache}`);
  }
}

async function askFor(
  cache: RepoCache,
  choose: Choice,
  subject: string,
  options: HubOptions & { readonly settings: HubSettings },
): Promise<RemoteCommit> {
  const { repo } = cache;
  const { settings, report, signal, sleep, silenceMs } = options;
  const say = (line: string) => report?.show(line);
  const client = new HubClient({ settings, subject, signal, say, sleep, silenceMs });
  const commit = isCommit(repo.revision) ? repo.revision : await commitOf(client, repo);
  const files = await cache.listing(commit) ?? await filesOf(client, repo, commit);
  const urlOf = (path: string) => fileUrl(settings.endpoint, repo, commit, path);
  const fetchFile = (file: HubFile, onProgress?: (done: number) => void) =>
    fetchInto(cache, commit, {
      client,
      file,
      url: urlOf(file.path),
      onProgress,
      open: options.open,
    });
  const chosen = await chooseSafely(choose, new Set(files.keys()), async (path) => {
    await fetchFile(files.get(path)!);
    return await Deno.readTextFile(`${cache.snapshot(commit)}/${path}`);
  }, subject);
  await cache.setListing(commit, files);
  const here = await cache.files(commit);
  const fetch = async (paths: readonly string[]) => {
    const wanted = paths.filter((path) => !here.has(path)).map((path) => files.get(path)!);
    await fetchAll(wanted, fetchFile, `${repo.name}@${commit.slice(0, 7)}`, report);
    await cache.setCommit(commit);
  };
  return { client, snapshot: snapshotOf(cache, commit), files, chosen, here, urlOf, fetch };
}

/** Refuses a choice that holds an unsafe name; of those that are not chosen any may be unsafe. */
const chooseSafely = async (choose: Choice, ...about: Parameters<Choice>) => {
  const [, , subject] = about;
  return (await choose(...about)).map((path) => checkPath(path, subject));
};

function snapshotOf(cache: RepoCache, commit: string): Snapshot {
  return { folder: cache.snapshot(commit), name: cache.repo.name, commit };
}

/** What a commit's snapshot lacks, in words; undefined when it is complete. */
async function missingIn(
  cache: RepoCache,
  commit: string,
  choose: Choice,
  { isOffline }: HubSettings,
): Promise<string | undefined> {
  const here = await cache.files(commit);
  const read = (path: string) =>
    here.has(path)
      ? Deno.readTextFile(`${cache.snapshot(commit)}/${path}`)
      : Promise.reject(new Deno.errors.NotFound(path));
  const listed = await cache.listing(commit);
  // A model's files tell themselves whether one is missing; of a data set a part looks like a smaller set.
  if (!listed && cache.repo.kind === "dataset" && !isOffline) return "the list of its files";
  try {
    const paths = listed ? new Set(listed.keys()) : here;
    const chosen = await chooseSafely(choose, paths, read, "");
    return chosen.find((path) => !here.has(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return error.message;
    if (!(error instanceof RangeError) && !(error instanceof SyntaxError)) throw error;
    return /^ has no ([^;,]+)/.exec(error.message)?.[1] ?? "part of it";
  }
}

async function commitOf(client: HubClient, { kind, name, revision }: HubRepo): Promise<string> {
  const { datasetInfo, modelInfo } = await import("@huggingface/hub"); // most runs never need it
  const about = { name, revision, hubUrl: client.settings.endpoint, fetch: client.ask };
  const { sha } = await understood(
    client,
    () =>
      kind === "model"
        ? modelInfo({ ...about, additionalFields: ["sha"] })
        : datasetInfo({ ...about, additionalFields: ["sha"] }),
  );
  if (typeof sha === "string" && isCommit(sha)) return sha;
  throw notUnderstood(client, `its commit is ${JSON.stringify(sha)}`);
}

async function filesOf(
  client: HubClient,
  { kind, name }: HubRepo,
  commit: string,
): Promise<ReadonlyMap<string, HubFile>> {
  const { listFiles } = await import("@huggingface/hub");
  const repo = { type: kind, name };
  const { endpoint: hubUrl } = client.settings;
  const about = { repo, revision: commit, recursive: true, hubUrl, fetch: client.ask };
  const files = new Map<string, HubFile>();
  await understood(client, async () => {
    for await (const { type, path, size, oid = "", lfs, xetHash } of listFiles(about)) {
      if (type !== "file") continue;
      const file = { path, size: lfs?.size ?? size, oid, sha256: lfs?.oid, xetHash };
      files.set(path, checkedFile(file, client.subject));
    }
  });
  return files;
}

/**
 * Runs a question of the package, whose own errors are about answers that are none of the Hub's.
 * @throws {SyntaxError} in place of those; what the client refuses as it is.
 */
export async function understood<T>(client: HubClient, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    client.signal?.throwIfAborted();
    // What the client refused is told already.
    const { message } = error as Error;
    const isOurs = message.startsWith(client.subject) || error instanceof Deno.errors.NotCapable;
    throw isOurs ? error : notUnderstood(client, message);
  }
}

function notUnderstood(client: HubClient, what: string): SyntaxError {
  const line = what.replace(/\s+/g, " ").slice(0, 160);
  return new SyntaxError(
    `${client.subject}: ${client.host} gives no answer of the Hub's (${line}); check HF_ENDPOINT`,
  );
}

async function fetchInto(
  cache: RepoCache,
  commit: string,
  options: Omit<DownloadOptions, "blob">,
): Promise<void> {
  const { file } = options;
  const etag = etagOf(file);
  using _lock = await cache.lock(etag);
  await downloadBlob({ ...options, blob: cache.blob(etag) });
  await cache.link(commit, file.path, etag);
}

function fileUrl(endpoint: string, { kind, name }: HubRepo, commit: string, path: string): string {
  const place = path.split("/").map(encodeURIComponent).join("/");
  return `${endpoint}/${kind === "model" ? "" : "datasets/"}${name}/resolve/${commit}/${place}`;
}

async function fetchAll(
  files: readonly HubFile[],
  fetchFile: (file: HubFile, onProgress: (done: number) => void) => Promise<void>,
  name: string,
  report: HubOptions["report"],
): Promise<void> {
  if (files.length === 0) return;
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const all = async (show: (done: number) => void) => {
    let before = 0;
    for (const file of files) {
      await fetchFile(file, (done) => show(before + done));
      before += file.size;
    }
  };
  if (!report) return await all(() => {});
  report.show(`fetching ${name}: ${files.map(({ path }) => path).join(", ")}`);
  const bar = { label: "fetch", total, isBytes: true };
  await report.progress(bar, (progress) => all((done) => progress.update(done)));
}

function shardsOf(text: string, subject: string): string[] {
  let map: unknown;
  try {
    map = JSON.parse(text).weight_map;
  } catch {
    map = undefined;
  }
  const names = typeof map === "object" && map !== null ? Object.values(map) : [];
  if (names.length === 0 || names.some((name) => typeof name !== "string")) {
    throw new SyntaxError(`${subject}: ${INDEX} names no shards; name another revision`);
  }
  return [...new Set(names as string[])].map((name) => checkPath(name, subject)).sort();
}
