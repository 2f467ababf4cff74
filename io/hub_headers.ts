/**
 * What a model of the Hub is, without its weights: config.json, and which tensors its safetensors hold.
 *
 * Where the cache has the model, its files tell. Else config.json and the index of the shards are fetched as any file is,
 * and of each file of weights the header alone is read by ranges: 8 bytes that say how long it is, then it. A header is
 * refused as that of a file on the disk would be, and is kept nowhere, since a part has no hash to be checked by.
 */
import { join } from "node:path";
import { fromCacheOr, type HubOptions, INDEX, modelFiles, type RemoteCommit } from "./hub.ts";
import type { HubRepo } from "./hub_cache.ts";
import { readRange } from "./hub_download.ts";
import { fileSource, openCheckpoint, readShards } from "./safetensors.ts";
import {
  type ByteSource,
  type Contents,
  readContents,
  type TensorInfo,
} from "./safetensors_header.ts";

/** A model as its small files and its headers tell it. */
export interface ModelOutline {
  /** Holds config.json. */
  readonly folder: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

const isWeights = (path: string) => path.endsWith(".safetensors");

/**
 * Reads a model's outline.
 * @throws {SyntaxError} for a header or an index that is malformed; else as `hubSnapshot` does.
 */
export async function hubOutline(repo: HubRepo, options: HubOptions = {}): Promise<ModelOutline> {
  const found = await fromCacheOr(
    repo,
    modelFiles,
    options,
    (remote) => readOutline(remote, options.report),
  );
  if ("tensors" in found) return found;
  using weights = await openCheckpoint(found.folder);
  return { folder: found.folder, tensors: weights.tensors };
}

async function readOutline(
  remote: RemoteCommit,
  report: HubOptions["report"],
): Promise<ModelOutline> {
  const { snapshot: { folder, name }, chosen } = remote;
  await remote.fetch(chosen.filter((path) => path === "config.json" || path === INDEX));
  const weights = chosen.filter(isWeights);
  const what = weights.length === 1
    ? `header of ${weights[0]}`
    : `headers of ${weights.length} files`;
  report?.show(`reading only the ${what} of ${name}`);
  const isSharded = chosen.includes(INDEX);
  const index = join(folder, INDEX);
  const { places } = isSharded
    ? await readShards(await Deno.readTextFile(index), index, (path) => headerOf(remote, path))
    : await headerOf(remote, weights[0]);
  return { folder, tensors: new Map([...places].map(([name, { info }]) => [name, info])) };
}

/** The header of a file of weights: of the cache's copy where it is whole. */
async function headerOf(remote: RemoteCommit, path: string): Promise<Contents> {
  if (!remote.here.has(path)) return await readContents(remoteSource(remote, path));
  using source = await fileSource(join(remote.snapshot.folder, path));
  return await readContents(source);
}

/** A file of the Hub of which only what is read is received. */
function remoteSource({ client, files, urlOf }: RemoteCommit, path: string): ByteSource {
  const file = files.get(path)!;
  return {
    name: `${client.subject}: ${path}`,
    byteLength: file.size,
    read: (start, end) => readRange({ client, url: urlOf(path), file }, start, end),
  };
}
