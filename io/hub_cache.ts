/**
 * The cache that the Hub's own tools share, so that what Python has fetched is used and the other way round.
 *
 *     models--owner--name/ blobs/<etag>                       a file: its SHA-256, or Git's hash of a small one
 *                          refs/<branch or tag>               the commit that it was when last asked
 *                          snapshots/<commit>/<path>          a link to the blob
 *                          trees/<commit>.json                which files the commit has, here or not
 *     .locks/models--owner--name/<etag>.lock                  held while that blob is being fetched
 *
 * Links are symbolic, as the layout has them; where permissions are confined to folders Deno makes none, and a second
 * name of the same file serves. Source: huggingface_hub, "Understand caching".
 */
import { dirname, join } from "node:path";
import { exists, writeAtomic } from "./atomic.ts";

/** A repository at a revision. */
export interface HubRepo {
  readonly kind: "model" | "dataset";
  /** `owner/name`. */
  readonly name: string;
  /** Branch, tag or commit. */
  readonly revision: string;
}

/** A file as a repository lists it. */
export interface HubFile {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Git's hash of the file, or of the pointer that stands for a file of LFS. */
  readonly oid: string;
  /** Of a file of LFS. */
  readonly sha256?: string;
  /** Of a file that the Hub keeps in chunks; other tools fetch it by that. */
  readonly xetHash?: string;
}

/** The name of a file's blob: its SHA-256 where it is of LFS, else Git's hash. */
export function etagOf({ sha256, oid }: HubFile): string {
  return sha256 ?? oid;
}

const TREE_VERSION = 1;
const PART = "[\\w][\\w.-]*";
const HUB_ID = new RegExp(`^(${PART}/${PART})(?:@([\\w][\\w./-]*))?$`);
const COMMIT = /^[0-9a-f]{40}$/;

/** Reads `owner/name` or `owner/name@revision`; undefined for text of another form, such as a deeper path. */
export function parseHubId(text: string, kind: HubRepo["kind"]): HubRepo | undefined {
  const [, name, revision = "main"] = HUB_ID.exec(text) ?? [];
  const isOdd = [name, revision].some((part) =>
    part === undefined || /\.\.|--|\/\/|\/$/.test(part)
  );
  return isOdd ? undefined : { kind, name, revision };
}

/** Whether a revision is a whole commit, which never changes. */
export function isCommit(revision: string): boolean {
  return COMMIT.test(revision);
}

/**
 * Checks a path that a repository names, before it is joined to a folder of this machine.
 * @throws {SyntaxError} when it could lead out of that folder.
 */
export function checkPath(path: string, subject: string): string {
  const isSafe = !/[\\:\p{Cc}]/u.test(path) &&
    path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
  if (isSafe) return path;
  throw new SyntaxError(
    `${subject} has a file '${shownPath(path)}', whose name is unsafe; nothing is fetched`,
  );
}

/** A path that a repository names, without what a screen would not show: for messages. */
export function shownPath(path: string): string {
  return path.replace(/\p{Cc}/gu, "?");
}

/**
 * Checks what a repository lists of a file. Its name is not judged: {@link checkPath} does that for files that are wanted,
 * and one that nobody wants stands in no one's way.
 * @throws {SyntaxError} without a name, a size and a hash.
 */
export function checkedFile(file: HubFile, subject: string): HubFile {
  const { path, size, oid, sha256 } = file;
  const isHash = sha256 === undefined ? isCommit(oid) : /^[0-9a-f]{64}$/.test(sha256);
  if (typeof path === "string" && isHash && Number.isSafeInteger(size) && size >= 0) return file;
  throw new SyntaxError(
    `${subject} lists '${shownPath(String(path))}' without a size and a hash; check HF_ENDPOINT`,
  );
}

/** A file in `trees/<commit>.json`. */
interface TreeEntry {
  readonly size: number;
  readonly blob_id: string;
  readonly lfs_sha256?: string;
  readonly xet_hash?: string;
}

/** A repository's part of the cache. */
export class RepoCache {
  readonly #folder: string;
  readonly #locks: string;

  /** @param cache the cache folder, which may not exist yet */
  constructor(cache: string, readonly repo: HubRepo) {
    const name = `${repo.kind}s--${repo.name.replace("/", "--")}`;
    this.#folder = join(cache, name);
    this.#locks = join(cache, ".locks", name);
  }

  /** The commit that a revision is, as far as the cache knows. */
  async commit(): Promise<string | undefined> {
    const { revision } = this.repo;
    if (isCommit(revision)) return revision;
    const text = await Deno.readTextFile(this.#ref(revision)).catch(() => "");
    return isCommit(text.trim()) ? text.trim() : undefined;
  }

  /** Keeps which commit the revision is. */
  async setCommit(commit: string): Promise<void> {
    if (isCommit(this.repo.revision)) return;
    const path = this.#ref(this.repo.revision);
    await Deno.mkdir(dirname(path), { recursive: true });
    await writeAtomic(path, commit);
  }

  /** The folder of a commit's files. */
  snapshot(commit: string): string {
    return join(this.#folder, "snapshots", commit);
  }

  /** The paths of a commit's files that are here, whole. */
  async files(commit: string): Promise<Set<string>> {
    const paths = new Set<string>();
    const visit = async (folder: string, prefix: string): Promise<void> => {
      for await (const { name, isDirectory } of Deno.readDir(folder)) {
        const path = join(folder, name);
        if (isDirectory) await visit(path, `${prefix}${name}/`);
        else if (await Deno.stat(path).then((at) => at.isFile, () => false)) {
          paths.add(prefix + name);
        }
      }
    };
    const folder = this.snapshot(commit);
    if (await exists(folder)) await visit(folder, "");
    return paths;
  }

  /** The files that a commit has, by path; undefined where that is not known. */
  async listing(commit: string): Promise<ReadonlyMap<string, HubFile> | undefined> {
    try {
      const { format_version, files } = JSON.parse(await Deno.readTextFile(this.#tree(commit)));
      if (format_version !== TREE_VERSION) return undefined;
      const entries = Object.entries(files as Record<string, TreeEntry>).map((
        [path, { size, blob_id: oid, lfs_sha256: sha256, xet_hash: xetHash }],
      ) => ({ path, size, oid, sha256, xetHash }));
      return new Map(entries.map((file) => [file.path, checkedFile(file, "the cache")]));
    } catch {
      return undefined; // it is asked for again
    }
  }

  /** Keeps which files a commit has. */
  async setListing(commit: string, files: ReadonlyMap<string, HubFile>): Promise<void> {
    const path = this.#tree(commit);
    const entries = [...files.values()].map(({ path, size, oid, sha256, xetHash }) => {
      const lfs = sha256 && { lfs_sha256: sha256, lfs_size: size };
      return [path, { size, blob_id: oid, ...lfs, ...xetHash && { xet_hash: xetHash } }] as const;
    }).sort(([a], [b]) => a < b ? -1 : 1);
    const tree = { format_version: TREE_VERSION, files: Object.fromEntries(entries) };
    await Deno.mkdir(dirname(path), { recursive: true });
    await writeAtomic(path, JSON.stringify(tree, null, 1));
  }

  /** Where a blob is, or will be. */
  blob(etag: string): string {
    return join(this.#folder, "blobs", etag);
  }

  /**
   * Puts a blob into a commit's snapshot under its path.
   * @throws {SyntaxError} when the path could lead out of it.
   */
  async link(commit: string, path: string, etag: string): Promise<void> {
    const pointer = join(this.snapshot(commit), checkPath(path, this.repo.name));
    await Deno.mkdir(dirname(pointer), { recursive: true });
    await Deno.remove(pointer).catch(() => {}); // a link whose blob was lost
    try {
      await Deno.symlink(linkTarget(path, etag), pointer);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      await Deno.link(this.blob(etag), pointer);
    }
  }

  /** Waits until no other process fetches this blob, and keeps others waiting until disposed. */
  async lock(etag: string): Promise<Disposable> {
    await Deno.mkdir(this.#locks, { recursive: true });
    const file = await Deno.open(join(this.#locks, `${etag}.lock`), { create: true, write: true });
    try {
      await file.lock(true);
    } catch (error) {
      file.close();
      throw error;
    }
    return file; // closing it unlocks
  }

  #tree(commit: string): string {
    return join(this.#folder, "trees", `${commit}.json`);
  }

  #ref(revision: string): string {
    return join(this.#folder, "refs", revision);
  }
}

/** The relative target of the link from `snapshots/<commit>/<path>` to `blobs/<etag>`. */
export function linkTarget(path: string, etag: string): string {
  return `${"../".repeat(path.split("/").length + 1)}blobs/${etag}`;
}
