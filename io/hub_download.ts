/**
 * One file of the Hub into the cache: fetched beside its place, checked, and only then given its name.
 *
 * `blobs/<etag>.incomplete` grows as bytes arrive and stays when something fails, so that the next attempt, or the next run,
 * asks for the rest (Range). A server that sends all again starts it anew. The hash is taken of every byte, those of an
 * earlier run included: SHA-256 for a file of LFS, Git's own (SHA-1 over a short head and the content) for others. A file
 * that differs is fetched once more from its beginning, then refused. What is renamed is synced first.
 *
 * A range alone, such as a header, is read into memory and kept nowhere: no hash tells whether it is what was listed.
 */
import { createHash, type Hash } from "node:crypto";
import { dirname } from "node:path";
import { reasonOf } from "./atomic.ts";
import { etagOf, type HubFile } from "./hub_cache.ts";
import type { HubClient } from "./hub_client.ts";
import type { Bytes } from "./safetensors_header.ts";

/** A file being fetched, open for reading and writing. */
export interface PartFile extends Disposable {
  read(buffer: Bytes): Promise<number | null>;
  /** Writes all bytes at the end. */
  append(bytes: Bytes): Promise<void>;
  /** Drops everything. */
  clear(): Promise<void>;
  sync(): Promise<void>;
}

/** How a file is fetched; tests replace `open`. */
export interface DownloadOptions {
  readonly client: HubClient;
  /** The address of the file's content. */
  readonly url: string;
  readonly file: HubFile;
  /** The blob's path. */
  readonly blob: string;
  /** Told how many bytes of the file are here. */
  readonly onProgress?: (done: number) => void;
  readonly open?: (path: string) => Promise<PartFile>;
}

const ATTEMPTS = 6;
const BUFFER = 1 << 20; // bytes

/**
 * Fetches what is missing of a blob.
 * @throws {Error} with its cause when the connection is cut for good or the disk refuses; {SyntaxError} when the content is
 * not what the repository lists; else as the client does.
 */
export async function downloadBlob(options: DownloadOptions): Promise<void> {
  const { client, file, blob, open = openPart } = options;
  const size = await Deno.stat(blob).then((at) => at.size, () => undefined);
  if (size === file.size) return;
  await Deno.mkdir(dirname(blob), { recursive: true });
  const path = `${blob}.incomplete`;
  try {
    using part = await open(path);
    if (!await fill(part, options)) {
      await part.clear(); // only a whole second copy tells a bad part from a bad server
      if (!await fill(part, options)) {
        await part.clear();
        throw new SyntaxError(
          `${client.subject}: ${file.path} is not what ${client.host} lists (its ` +
            `${
              file.sha256 ? "SHA-256" : "hash"
            } differs), twice; run again later, or check HF_ENDPOINT`,
        );
      }
    }
    await part.sync();
    await Deno.rename(path, blob);
  } catch (error) {
    const what = `${file.path} (${file.size} bytes) in ${dirname(blob)}`;
    throw diskError(error, client.subject, what);
  }
}

/**
 * Fetches until the file is complete, going on after each cut.
 * @returns whether the content is the one listed
 */
async function fill(part: PartFile, options: DownloadOptions): Promise<boolean> {
  const { client, file, onProgress = () => {} } = options;
  let state = await begin(part, file);
  const told = () => `${state.done} of ${file.size} bytes are kept`;
  await goingOn({ client, file, done: () => state.done, size: file.size, told }, async () => {
    onProgress(state.done);
    const response = await request(options, state.done, file.size);
    if (state.done > 0 && !continues(response, state.done)) {
      await part.clear();
      state = newState(file);
    }
    await receive(response, client, file.size - state.done, async (bytes) => {
      await part.append(bytes);
      state.hash.update(bytes);
      state.done += bytes.length;
      onProgress(state.done);
    });
  });
  return state.done === file.size && state.hash.digest("hex") === etagOf(file);
}

/**
 * Reads bytes [start, end) of a file, and not more: of a server that has no ranges and sends the file from its beginning,
 * what comes before is dropped and what comes after is not received.
 * @throws {SyntaxError} when it answers with other bytes, or those of a file of another length; else as
 * {@link downloadBlob} does.
 */
export async function readRange(
  options: Pick<DownloadOptions, "client" | "url" | "file">,
  start: number,
  end: number,
): Promise<Bytes> {
  const { client, file } = options;
  const range = new Uint8Array(end - start);
  let done = 0;
  const told = () => `${done} of ${range.length} bytes came`;
  await goingOn({ client, file, done: () => done, size: range.length, told }, async () => {
    const from = start + done;
    const response = await request(options, from, end);
    const isPart = response.status === 206;
    if (isPart && !continues(response, from, file.size)) {
      await response.body?.cancel();
      throw new SyntaxError(
        `${client.subject}: ${client.host} answers bytes ${from} to ${
          end - 1
        } of ${file.path} with others ` +
          `(${response.headers.get("Content-Range")}); run again later, or check HF_ENDPOINT`,
      );
    }
    let position = isPart ? from : 0;
    await receive(response, client, end - position, (bytes) => {
      const wanted = bytes.subarray(Math.min(Math.max(0, from - position), bytes.length));
      range.set(wanted, done);
      done += wanted.length;
      position += bytes.length;
      return Promise.resolve();
    });
  });
  return range;
}

/** What {@link goingOn} is told of the bytes that are being received. */
interface Receipt extends Pick<DownloadOptions, "client" | "file"> {
  readonly done: () => number;
  readonly size: number;
  /** How far it is, in words. */
  readonly told: () => string;
}

/**
 * Receives until all is here, and goes on after each cut.
 * @throws {Error} with its cause when that gets nowhere.
 */
async function goingOn(
  { client, file, done, size, told }: Receipt,
  receiveSome: () => Promise<void>,
): Promise<void> {
  for (let attempt = 1; done() < size; attempt++) {
    const before = done();
    try {
      await receiveSome();
    } catch (error) {
      client.signal?.throwIfAborted();
      if (!(error instanceof CutConnection)) throw error;
      if (done() > before) attempt = 1; // it gets on, however slowly
      if (attempt >= ATTEMPTS) {
        throw new Error(
          `${client.subject}: the connection was cut in ${file.path} (${error.message}); ${told()}, run again to go on`,
          { cause: error.cause },
        );
      }
      await client.pause(attempt, `the connection was cut in ${file.path}, ${told()}`);
    }
  }
}

interface State {
  hash: Hash;
  done: number;
}

function newState({ sha256, size }: HubFile): State {
  const hash = sha256 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
  return { hash, done: 0 };
}

/** What an earlier run left, hashed; what is too long for the file is dropped. */
async function begin(part: PartFile, file: HubFile): Promise<State> {
  const state = newState(file);
  const buffer = new Uint8Array(BUFFER);
  for (let count = await part.read(buffer); count !== null; count = await part.read(buffer)) {
    state.hash.update(buffer.subarray(0, count));
    state.done += count;
  }
  if (state.done <= file.size) return state;
  await part.clear();
  return newState(file);
}

/** Asks for bytes [from, end). */
async function request(
  { client, url, file }: Pick<DownloadOptions, "client" | "url" | "file">,
  from: number,
  end: number,
): Promise<Response> {
  // Without this a server may compress, and its lengths would be those of the compressed content.
  const headers = new Headers({ "Accept-Encoding": "identity" });
  if (from > 0 || end < file.size) headers.set("Range", `bytes=${from}-${end - 1}`);
  return await client.fetch(url, { headers });
}

/** Whether a response goes on at this byte, of a file of this size where that is asked; 200 sends all again. */
function continues({ status, headers }: Response, from: number, size?: number): boolean {
  const [, first, total] =
    /^bytes (\d+)-\d*(?:\/(\d+))?/.exec(headers.get("Content-Range") ?? "") ?? [];
  const isOther = size !== undefined && total !== undefined && Number(total) !== size;
  return status === 206 && Number(first) === from && !isOther;
}

class CutConnection extends Error {}

/**
 * Reads a response's bytes, `length` of them at most.
 * @throws {CutConnection} when it ends early or is silent for too long; what `write` throws.
 */
async function receive(
  response: Response,
  { silenceMs, signal }: HubClient,
  length: number,
  write: (bytes: Bytes) => Promise<void>,
): Promise<void> {
  if (!response.body) throw new CutConnection("it has no content", { cause: response.url });
  const reader = response.body.getReader();
  const onAbort = () => void reader.cancel().catch(() => {});
  signal?.addEventListener("abort", onAbort);
  try {
    for (let left = length; left > 0;) {
      const clock = setTimeout(onAbort, silenceMs);
      const { value, done } = await reader.read()
        .catch((cause) => {
          throw new CutConnection(reasonOf(cause), { cause });
        })
        .finally(() => clearTimeout(clock));
      if (done) throw new CutConnection("it ended early", { cause: response.url });
      const bytes = value.length > left ? value.subarray(0, left) : value;
      await write(bytes);
      left -= bytes.length;
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    await reader.cancel().catch(() => {}); // of a broken body nothing more is wanted
  }
}

async function openPart(path: string): Promise<PartFile> {
  const file = await Deno.open(path, { read: true, write: true, create: true });
  return {
    read: (buffer) => file.read(buffer),
    async append(bytes) {
      for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
    },
    async clear() {
      await file.truncate(0);
      await file.seek(0, Deno.SeekMode.Start);
    },
    sync: () => file.sync(),
    [Symbol.dispose]: () => file.close(),
  };
}

/**
 * A refusal of the disk, in words; other errors as they are.
 * @param what could not be written
 */
export function diskError(error: unknown, subject: string, what: string): unknown {
  if (!(error instanceof Error) || error.cause instanceof Error) return error;
  const isForbidden = error instanceof Deno.errors.NotCapable;
  // Below /proc, /dev and /sys Deno asks for a flag that no task takes.
  const isSystems = isForbidden && error.message.startsWith("Requires all access to ");
  const isDisk = isForbidden
    ? isSystems || error.message.startsWith("Requires write access to ")
    : /\(os error \d+\)/.test(error.message);
  if (!isDisk) return error;
  const reason = isSystems ? "it is the system's own folder" : reasonOf(error);
  const next =
    "what was fetched is kept; free disk space or allow writing there, or name another " +
    "cache with HF_HOME, and run again";
  return new Error(`${subject}: cannot write ${what}: ${reason}; ${next}`, {
    cause: error,
  });
}
