/**
 * A checkpoint to the Hub: its trained tensors, its configuration and a card, and never more.
 *
 * The optimizer, logs, predictions, data positions and the code of a method of one's own stay here; nothing of the
 * repository is deleted. What is uploaded is a checkpoint again, without an optimizer, so a copy of it is tested as any
 * other. A repository that is made is private unless asked otherwise: publishing cannot be taken back.
 *
 * `@huggingface/hub` makes the commit: which files go to the storage for large ones, their SHA-256, their upload. Its own
 * creation of repositories takes no token but those that begin with hf_.
 */
import { basename, join } from "node:path";
import { disk, reasonOf } from "./atomic.ts";
import { loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { type Config, printConfig, restoreConfig } from "./config.ts";
import { type HubOptions, understood } from "./hub.ts";
import { parseHubId } from "./hub_cache.ts";
import { HubClient } from "./hub_client.ts";
import { hubSettings } from "./hub_settings.ts";
import { type CardOptions, type CardResults, modelCard, portableConfig } from "./model_card.ts";
import { readTestResults } from "./report.ts";
import { runFolderOf } from "./run_log.ts";
import { parseObject } from "./safetensors_header.ts";

/** What a command line asks for. */
export interface PushRequest {
  /** The checkpoint's folder. */
  readonly path: string;
  /** `owner/name`; made where it is not there yet. */
  readonly repo: string;
  /** Whether a new repository is public. @default {false} */
  readonly isPublic?: boolean;
}

/** What was uploaded. */
export interface Pushed {
  /** The repository's address. */
  readonly url: string;
  readonly commit: string;
  /** By path, in bytes. */
  readonly sizes: ReadonlyMap<string, number>;
}

const FILES = ["README.md", "config.yaml", "model.safetensors", "state.json"] as const;

/**
 * Uploads a checkpoint in one commit.
 * @throws {RangeError} for a checkpoint or repository that is none, a missing token or right; else as `loadCheckpoint` and
 * `hubSnapshot` do.
 */
export async function pushCheckpoint(
  { path, repo, isPublic = false }: PushRequest,
  options: HubOptions = {},
): Promise<Pushed> {
  const { settings = hubSettings(), report, signal, sleep, silenceMs } = options;
  const name = parseHubId(repo, "model")?.name;
  if (name !== repo) {
    throw new RangeError(`--repo must be owner/name, as in --repo=me/colar-arith, got '${repo}'`);
  }
  if (settings.isOffline) {
    throw new RangeError("push needs the Hub, but HF_HUB_OFFLINE is set; unset it");
  }
  if (!settings.token) {
    throw new RangeError(
      "push needs a token that may write; set HF_TOKEN to one of your account's",
    );
  }
  const files = await filesOf(path, repo);
  const say = (line: string) => report?.show(line);
  const subject = `model ${repo}`;
  const client = new HubClient({ settings, subject, signal, say, sleep, silenceMs });
  await createRepo(client, repo, isPublic);
  const sizes = new Map([...files].map(([file, blob]) => [file, blob.size]));
  say(
    `uploading to ${repo}: ${
      [...sizes].map(([file, size]) => `${file} (${size} bytes)`).join(", ")
    }`,
  );
  const commit = await upload(client, repo, files, report);
  return { url: `${settings.endpoint}/${repo}`, commit, sizes };
}

/** The content of every file that is uploaded. */
async function filesOf(path: string, repo: string): Promise<ReadonlyMap<string, Blob>> {
  const { tensors, state, monitor, config: saved } = await loadCheckpoint(path, {
    optimizer: false,
  });
  const { config: asked } = await restoreConfig(saved, [], path);
  const config = await portableConfig(asked);
  const names = namesOf(state.names, asked);
  const { epoch, step } = state;
  const card = await modelCard({
    repo,
    config,
    epoch,
    step,
    names,
    files: FILES,
    ...await runOf(path, asked),
  });
  const folder = await Deno.makeTempDir();
  try {
    const checkpoint = join(folder, "checkpoint");
    await saveCheckpoint(checkpoint, { tensors, state: { epoch, step, names }, monitor, config });
    const read = async (file: string) => new Blob([await Deno.readFile(join(checkpoint, file))]);
    return new Map([
      ["README.md", new Blob([card])],
      ["config.yaml", new Blob([await printConfig(config, asked.model.target)])],
      ["model.safetensors", await read("model.safetensors")],
      ["state.json", await read("state.json")],
    ]);
  } finally {
    await disk.remove(folder).catch((error) => console.error(`left ${folder}: ${reasonOf(error)}`));
  }
}

/** What the checkpoint's run left besides: results of this very checkpoint, the environment, where it began. */
async function runOf(path: string, { model }: Config) {
  const folder = runFolderOf(path);
  const read = (file: string) =>
    folder === undefined ? "" : Deno.readTextFile(join(folder, file)).catch(() => "");
  const results = folder === undefined ? undefined : await readTestResults(folder);
  const tested = (results as { checkpoint?: unknown } | undefined)?.checkpoint;
  const isTested = typeof tested === "string" && lastPart(tested) === lastPart(path);
  const environment = await read("environment.json");
  const trainsCot = "start" in model && model.start === "cot"; // then the run makes its own beginning
  return {
    results: isTested ? results as CardResults : undefined,
    environment: environment ? parseObject(environment, `${folder}/environment.json`) : undefined,
    beginsFromCheckpoint: !trainsCot && /^\S+ begins from /m.test(await read("logs.txt")),
  };
}

/** The files of configs/ that a run named; a run of another program's has none, and the nearest are taken. */
function namesOf(saved: unknown, { model, data_module }: Config): CardOptions["names"] {
  const { model: own, dataset, trainer } = (saved ?? {}) as Partial<CardOptions["names"]>;
  return {
    model: lastPart(own ?? model.target.replace(/\.ts$/, "")),
    dataset: lastPart(dataset ?? data_module.dataset_name),
    trainer: lastPart(trainer ?? "default"),
  };
}

function lastPart(path: string): string {
  return basename(path.replace(/\/+$/, ""));
}

async function createRepo(client: HubClient, repo: string, isPublic: boolean): Promise<void> {
  const [organization, name] = repo.split("/");
  const body = JSON.stringify({ type: "model", name, organization, private: !isPublic });
  const headers = { "Content-Type": "application/json" };
  const url = `${client.settings.endpoint}/api/repos/create`;
  try {
    const response = await client.fetch(url, { method: "POST", headers, body });
    await response.body?.cancel();
  } catch (error) {
    const isThere = error instanceof Error && (error.cause as { status?: number })?.status === 409;
    if (!isThere) throw error;
  }
}

async function upload(
  client: HubClient,
  repo: string,
  files: ReadonlyMap<string, Blob>,
  report: HubOptions["report"],
): Promise<string> {
  const { commitIter } = await import("@huggingface/hub");
  const operations = [...files].map(([path, content]) =>
    ({ operation: "addOrUpdate", path, content }) as const
  );
  const total = [...files.values()].reduce((sum, { size }) => sum + size, 0);
  const all = async (show: (done: number) => void) => {
    const steps = commitIter({
      title: `Upload ${[...files.keys()].join(", ")}`,
      repo: { type: "model", name: repo },
      operations,
      hubUrl: client.settings.endpoint,
      fetch: client.ask,
      abortSignal: client.signal,
      useXet: false, // a storage protocol of its own, which takes WebAssembly and threads
    });
    const done = new Map<string, number>();
    for (;;) {
      const { value, done: isEnd } = await steps.next();
      if (isEnd) {
        show(total); // of small files no progress is told
        return value?.commit.oid ?? "";
      }
      if (value.event !== "fileProgress" || value.state !== "uploading") continue;
      done.set(value.path, value.progress * files.get(value.path)!.size);
      show(Math.floor([...done.values()].reduce((sum, bytes) => sum + bytes, 0)));
    }
  };
  return await understood(client, () => {
    if (!report) return all(() => {});
    const bar = { label: "upload", total, isBytes: true };
    return report.progress(bar, (progress) => all((bytes) => progress.update(bytes)));
  });
}
