/**
 * The files that a data set is made of, on this disk or from the Hub, with their hashes; and the cache of what was made.
 *
 * What a set was turned into is kept below the user's cache folder under a key that holds the hashes of its files, so
 * that changed files, or another way to read them, never give old rows. data/ knows what files and rows mean.
 */
import { join } from "node:path";
import { exists, writeAtomic } from "./atomic.ts";

/** A file's content. */
export interface HashedFile {
  readonly bytes: Uint8Array;
  /** In hexadecimal digits. */
  readonly sha256: string;
}

const DEPTH = 3; // folders below a set's in which its files are looked for

/**
 * The paths of a folder's files, relative to it and sorted; hidden ones are left out.
 * @param isWanted tells by a file's name
 * @returns undefined when there is nothing of this name, [""] when it is a file
 * @throws {TypeError} when it is neither, such as a device
 */
export async function listLocalFiles(
  folder: string,
  isWanted: (name: string) => boolean,
): Promise<string[] | undefined> {
  if (!await exists(folder)) return undefined;
  const { isFile, isDirectory } = await Deno.stat(folder);
  if (isFile) return [""];
  if (!isDirectory) {
    throw new TypeError(`source: '${folder}' is neither a file nor a folder; name one of these`);
  }
  const found: string[] = [];
  const visit = async (below: string, depth: number) => {
    for await (const { name, isDirectory } of Deno.readDir(join(folder, below))) {
      if (name.startsWith(".")) continue;
      const path = below === "" ? name : `${below}/${name}`;
      if (isDirectory) { if (depth < DEPTH) await visit(path, depth + 1); }
      else if (isWanted(name)) found.push(path); // links too: the Hub's cache is made of them
    }
  };
  await visit("", 1);
  return found.sort();
}

/**
 * Reads a file of a data set.
 * @throws {TypeError} naming the file when it cannot be read
 */
export async function readHashed(path: string): Promise<HashedFile> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await Deno.readFile(path);
  } catch (cause) {
    throw new TypeError(`${path}: cannot be read; check source and the file's permissions`, {
      cause,
    });
  }
  return { bytes, sha256: await sha256(bytes) };
}

/** @returns SHA-256 in hexadecimal digits */
export async function sha256(data: Uint8Array<ArrayBuffer> | string): Promise<string> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/**
 * Reads what was kept.
 * @param folder of all kept sets; undefined where nothing can be kept
 * @returns undefined where nothing was, or it is damaged
 */
export async function readKept(folder: string | undefined, key: string): Promise<unknown> {
  if (folder === undefined || !isAllowed("read", folder)) return undefined;
  try {
    return JSON.parse(await Deno.readTextFile(join(folder, `${key}.json`)));
  } catch {
    return undefined; // it is made again
  }
}

/**
 * Keeps a value as JSON.
 * @returns its file; undefined where it could not be written: a cache may be read-only or full
 */
export async function keep(
  folder: string | undefined,
  key: string,
  value: unknown,
): Promise<string | undefined> {
  if (folder === undefined || !isAllowed("write", folder)) return undefined;
  const file = join(folder, `${key}.json`);
  try {
    await Deno.mkdir(folder, { recursive: true });
    await writeAtomic(file, JSON.stringify(value));
    return file;
  } catch {
    return undefined;
  }
}

/** Whether a folder may be used: asked first, so that a program started without the permission does not prompt. */
function isAllowed(name: "read" | "write", path: string): boolean {
  return Deno.permissions.querySync({ name, path }).state === "granted";
}
