/**
 * Writing so that a kill at any moment, or a full disk, leaves whole things: files and folders replaced, records appended.
 *
 * A file or folder is written under a temporary name beside its own, synced, then renamed. POSIX renames a file over
 * another in one step, but no folder over a folder that holds something, so a replaced folder moves aside first:
 *
 *     .NAME.ID.tmp written and synced;  NAME -> .NAME.ID.old;  .NAME.ID.tmp -> NAME;  .NAME.ID.old removed
 *
 * Between the two renames NAME is missing while both versions are whole: {@link findFolder} then gives the new one,
 * {@link recoverFolders} finishes the work. Files are injected, so that tests can stop every operation.
 */

import { basename, dirname, join } from "node:path";
import type { Bytes } from "./safetensors_header.ts";

/** A new file being written. */
export interface OpenFile {
  /** Writes all bytes. */
  write(bytes: Bytes): Promise<void>;
  /** Returns when what was written is on the disk. */
  sync(): Promise<void>;
  close(): void;
}

/** What writing asks of a file system. */
export interface Files {
  /** Makes a folder, whose parent exists. */
  makeFolder(path: string): Promise<void>;
  /** Makes a file where there is none. */
  create(path: string): Promise<OpenFile>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a folder and what is in it. */
  remove(path: string): Promise<void>;
  /** Returns when the names in a folder are on the disk. */
  syncFolder(path: string): Promise<void>;
}

/** The disk. */
export const disk: Files = {
  makeFolder: (path) => Deno.mkdir(path),
  async create(path) {
    const file = await Deno.open(path, { write: true, createNew: true });
    return {
      async write(bytes) {
        for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
      },
      sync: () => file.sync(),
      close: () => file.close(),
    };
  },
  rename: (from, to) => Deno.rename(from, to),
  remove: (path) => Deno.remove(path, { recursive: true }),
  async syncFolder(path) {
    if (Deno.build.os === "windows") return; // a folder cannot be opened there
    using folder = await Deno.open(path);
    await folder.sync();
  },
};

const LEFTOVER = /^\.(.+)\.([0-9a-f-]{36})\.(tmp|old)$/;

/** A name beside `path` that is not in use, hidden, and known to {@link recoverFolders}. */
function beside(path: string, id: string, kind: "tmp" | "old"): string {
  return join(dirname(path), `.${basename(path)}.${id}.${kind}`);
}

/**
 * Writes a new file and syncs it; a failure leaves what was written.
 * @throws {Deno.errors.AlreadyExists} where there is one.
 */
export async function writeSynced(
  path: string,
  chunks: Iterable<Bytes>,
  files: Files = disk,
): Promise<void> {
  const file = await files.create(path);
  try {
    for (const chunk of chunks) await file.write(chunk);
    await file.sync();
  } finally {
    file.close();
  }
}

/** Makes or replaces a file: `path` holds the old or the new content, never a part. */
export async function writeAtomic(
  path: string,
  content: string | Iterable<Bytes>,
  files: Files = disk,
): Promise<void> {
  const chunks = typeof content === "string" ? [new TextEncoder().encode(content)] : content;
  const temporary = beside(path, crypto.randomUUID(), "tmp");
  try {
    await writeSynced(temporary, chunks, files);
    await files.rename(temporary, path);
  } catch (error) {
    // The first error is the one to report; there may be nothing to remove.
    await files.remove(temporary).catch(() => {});
    throw error;
  }
  await files.syncFolder(dirname(path));
}

/**
 * Makes or replaces a folder: a reader that goes through {@link findFolder} sees the old or the new one, never a part.
 * @param fill writes and syncs everything into the folder that it is given
 */
export async function replaceFolder(
  path: string,
  fill: (folder: string) => Promise<void>,
  files: Files = disk,
): Promise<void> {
  const id = crypto.randomUUID();
  const [temporary, old] = [beside(path, id, "tmp"), beside(path, id, "old")];
  let isAside = false;
  try {
    await files.makeFolder(temporary);
    await fill(temporary);
    await files.syncFolder(temporary);
    if (await exists(path)) {
      await files.rename(path, old);
      isAside = true;
    }
    await files.rename(temporary, path);
  } catch (error) {
    if (isAside) await files.rename(old, path).catch(() => {});
    await files.remove(temporary).catch(() => {});
    throw error;
  }
  await files.syncFolder(dirname(path));
  if (isAside) await files.remove(old);
}

/** Removes a folder in one step as seen under its name. */
export async function removeFolder(path: string, files: Files = disk): Promise<void> {
  const gone = beside(path, crypto.randomUUID(), "tmp");
  await files.rename(path, gone);
  await files.remove(gone);
}

/**
 * Finds a folder that may have been left half replaced.
 * @returns `path`, or the whole folder that was about to become it; undefined where there is neither
 */
export async function findFolder(path: string): Promise<string | undefined> {
  if (await exists(path)) return path;
  const aside = (await leftovers(dirname(path)))
    .find(({ name, kind }) => name === basename(path) && kind === "old");
  if (!aside) return undefined;
  const next = beside(path, aside.id, "tmp");
  return await exists(next) ? next : aside.path;
}

/**
 * Cleans up in `parent` after a kill: finishes replaced folders, removes temporary files and folders.
 * @returns how many leftovers there were
 */
export async function recoverFolders(parent: string, files: Files = disk): Promise<number> {
  const found = await leftovers(parent);
  for (const { name, kind } of found) {
    const path = join(parent, name);
    if (kind !== "old" || await exists(path)) continue;
    const whole = await findFolder(path);
    if (whole) await files.rename(whole, path);
  }
  if (found.length > 0) await files.syncFolder(parent);
  for (const { path } of found) if (await exists(path)) await files.remove(path);
  return found.length;
}

async function leftovers(parent: string) {
  const found: { path: string; name: string; id: string; kind: string }[] = [];
  const { isDirectory } = await Deno.stat(parent).catch(() => ({ isDirectory: false }));
  if (!isDirectory) return found;
  for await (const entry of Deno.readDir(parent)) {
    const match = LEFTOVER.exec(entry.name);
    if (!match) continue;
    const [, name, id, kind] = match;
    found.push({ path: join(parent, entry.name), name, id, kind });
  }
  return found;
}

/** A file open for appending. */
export interface AppendHandle extends Disposable {
  writeSync(bytes: Bytes): number;
  truncateSync(length: number): void;
  syncDataSync(): void;
  statSync(): { readonly size: number };
}

/** A file that grows by whole records, each handed to the system at once: a kill loses none. */
export class AppendFile implements Disposable {
  #file: AppendHandle;
  #length: number;

  /** @param open opens the path for appending, making it where it is missing */
  constructor(
    readonly path: string,
    open: (path: string) => AppendHandle = (path) =>
      Deno.openSync(path, { append: true, create: true }),
  ) {
    this.#file = open(path);
    this.#length = this.#file.statSync().size;
  }

  /** Appends a record; when it throws, the file ends with the record before. */
  append(record: string | Bytes): void {
    const bytes = typeof record === "string" ? new TextEncoder().encode(record) : record;
    try {
      for (let done = 0; done < bytes.length;) done += this.#file.writeSync(bytes.subarray(done));
    } catch (error) {
      try {
        this.#file.truncateSync(this.#length);
      } catch {
        // The first error is the one to report; a torn last line is dropped at the next start.
      }
      throw error;
    }
    this.#length += bytes.length;
  }

  /** Returns when all records are on the disk: what a power failure then leaves. */
  sync(): void {
    this.#file.syncDataSync();
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

/** Whether something has this name. */
export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    const isAbsent = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory;
    if (isAbsent) return false;
    throw error;
  }
}

/** The system's reason for a failure, in one line and without the path that it may repeat. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/(\(os error \d+\))[^]*$/, "$1").replace(/\s+/g, " ").trim();
}
