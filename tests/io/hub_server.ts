/**
 * A Hub in the test's own process: commits, file lists in pages, files with redirects and ranges, uploads; faults on demand.
 *
 * Large files lie on a second server, another origin, as on the real Hub. Everything that was asked is kept.
 */
import { createHash } from "node:crypto";
import type { HubOptions } from "../../io/hub.ts";
import { hubSettings } from "../../io/hub_settings.ts";

/** A request that was answered. */
export interface Asked {
  readonly method: string;
  /** The path, without its query. */
  readonly path: string;
  readonly range: string | null;
  readonly authorization: string | null;
  readonly isStorage: boolean;
}

/** Answers a request in place of the server; undefined lets it answer. */
export type Fault = (asked: Asked) => Response | undefined | Promise<Response | undefined>;

export interface FakeRepo {
  readonly commit: string;
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
}

export const COMMIT = "c0ffee".padEnd(40, "0");
const isLarge = (path: string) => /\.(safetensors|parquet|bin)$/.test(path);

export class HubServer implements AsyncDisposable {
  readonly asked: Asked[] = [];
  /** Tried in order on every request; one that answers is used up. */
  readonly faults: Fault[] = [];
  /** By `models/owner/name` or `datasets/owner/name`. */
  readonly repos = new Map<string, FakeRepo>();
  /** What was uploaded to the storage, by SHA-256. */
  readonly uploaded = new Map<string, Uint8Array<ArrayBuffer>>();
  /** Bodies of repos/create, and the lines of each commit. */
  readonly created: Record<string, unknown>[] = [];
  readonly commits: Record<string, unknown>[][] = [];
  readonly #hub = this.#serve(false);
  readonly #storage = this.#serve(true);

  get endpoint(): string {
    return `http://127.0.0.1:${this.#hub.addr.port}`;
  }

  get storage(): string {
    return `http://127.0.0.1:${this.#storage.addr.port}`;
  }

  /** Options for a client of this server, whose waits take no time and are kept. */
  options(
    cache: string,
    more: Readonly<Record<string, string>> = {},
  ): HubOptions & { waits: number[] } {
    const variables: Record<string, string> = {
      HF_ENDPOINT: this.endpoint,
      HF_HUB_CACHE: cache,
      ...more,
    };
    const waits: number[] = [];
    return {
      settings: hubSettings((name) => variables[name]),
      sleep: (ms) => Promise.resolve(void waits.push(ms)),
      silenceMs: 2000,
      waits,
    };
  }

  /** The paths asked for so far, which are then forgotten. */
  taken(): string[] {
    return this.asked.splice(0).map(({ method, path, range }) =>
      `${method} ${path}${range ? ` ${range}` : ""}`
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#hub.shutdown(), this.#storage.shutdown()]);
  }

  #serve(isStorage: boolean): Deno.HttpServer<Deno.NetAddr> {
    const options = {
      hostname: "127.0.0.1",
      port: 0,
      onListen() {},
      onError: () => new Response(),
    };
    return Deno.serve(options, async (request) => {
      const { pathname: path } = new URL(request.url);
      const [range, authorization] = ["Range", "Authorization"].map((n) => request.headers.get(n));
      const asked = { method: request.method, path, range, authorization, isStorage };
      this.asked.push(asked);
      for (const fault of [...this.faults]) {
        const answer = await fault(asked);
        if (!answer) continue;
        this.faults.splice(this.faults.indexOf(fault), 1);
        await request.body?.cancel();
        return answer;
      }
      return isStorage ? await this.#store(request, asked) : await this.#answer(request, path);
    });
  }

  async #answer(request: Request, path: string): Promise<Response> {
    const url = new URL(request.url);
    if (path === "/api/repos/create") {
      const body = await request.json();
      this.created.push(body);
      const name = `models/${body.organization}/${body.name}`;
      if (this.repos.has(name)) return refusal(409, "", "You already created this model repo");
      this.repos.set(name, { commit: COMMIT, files: new Map() });
      return Response.json({ url: `${this.endpoint}/${name}`, id: name });
    }
    const info = /^\/api\/((?:model|dataset)s\/[^/]+\/[^/]+)\/(\w+)\/([^/]+)$/.exec(path);
    if (info) return await this.#api(request, info[1], info[2], decodeURIComponent(info[3]), url);
    const batch = /^\/([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/batch$/.exec(path);
    if (batch) return this.#batch(await request.json());
    const file = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const repo = file && this.repos.get(`${file[1] ?? "models/"}${file[2]}`);
    if (!file || !repo) return refusal(404, "RepoNotFound", "Repository not found");
    const name = decodeURIComponent(file[4]);
    const bytes = file[3] === repo.commit ? repo.files.get(name) : undefined;
    if (!bytes) return refusal(404, "EntryNotFound", "Entry not found");
    const etag = etagOf(name, bytes);
    const about = { "X-Repo-Commit": repo.commit };
    if (!isLarge(name)) return withRange(request, bytes, etag, about);
    const headers = {
      ...about,
      Location: `${this.storage}/${etag}`,
      "X-Linked-Size": `${bytes.length}`,
      "X-Linked-ETag": `"${etag}"`,
    };
    return new Response(null, { status: 302, headers });
  }

  async #api(request: Request, name: string, what: string, revision: string, url: URL) {
    const repo = this.repos.get(name);
    if (!repo) return refusal(404, "RepoNotFound", "Repository not found");
    if (what === "preupload") {
      const { files } = await request.json();
      const modes = (files as { path: string }[]).map(({ path }) => ({
        path,
        uploadMode: isLarge(path) ? "lfs" : "regular",
      }));
      return Response.json({ files: modes });
    }
    if (what === "commit") {
      const lines = (await request.text()).trim().split("\n").map((line) => JSON.parse(line));
      this.commits.push(lines);
      const files = new Map(repo.files);
      for (const { key, value: { path, content, oid } } of lines) {
        if (key === "file") files.set(path, Uint8Array.fromBase64(content));
        if (key === "lfsFile") files.set(path, this.uploaded.get(oid)!);
      }
      this.repos.set(name, { ...repo, files });
      return Response.json({ commitOid: COMMIT, commitUrl: `${this.endpoint}/commit` });
    }
    if (!["main", "refs/convert/parquet", repo.commit].includes(revision)) {
      return refusal(404, "RevisionNotFound", "Invalid rev id");
    }
    const lastModified = "2025-01-01T00:00:00.000Z";
    if (what === "revision") {
      const more = {
        _id: "1",
        id: name.split("/").slice(1).join("/"),
        private: false,
        lastModified,
      };
      const siblings = [...repo.files.keys()].map((rfilename) => ({ rfilename }));
      const counts = { likes: 0, downloads: 0, tags: [] };
      return Response.json({ ...more, ...counts, sha: repo.commit, gated: false, siblings });
    }
    const all = [{ type: "directory", path: "folder", size: 0, oid: "0" }, ...treeOf(repo)];
    const from = Number(url.searchParams.get("cursor") ?? 0);
    const next = `<${this.endpoint}${url.pathname}?recursive=true&cursor=${from + 3}>; rel="next"`;
    const headers: HeadersInit = from + 3 < all.length ? { Link: next } : {};
    return Response.json(all.slice(from, from + 3), { headers });
  }

  #batch({ objects }: { objects: { oid: string; size: number }[] }): Response {
    const answered = objects.map(({ oid, size }) =>
      this.uploaded.has(oid)
        ? { oid, size }
        : { oid, size, actions: { upload: { href: `${this.storage}/${oid}` } } }
    );
    return Response.json({ transfer: "basic", objects: answered });
  }

  async #store(request: Request, { path, method }: Asked): Promise<Response> {
    const oid = path.slice(1);
    if (method === "PUT") {
      this.uploaded.set(oid, await request.bytes());
      return new Response();
    }
    for (const { files } of this.repos.values()) {
      for (const [name, bytes] of files) {
        if (etagOf(name, bytes) === oid) return withRange(request, bytes, oid);
      }
    }
    return new Response(null, { status: 403 });
  }
}

/** Runs work with a server and an empty cache folder. */
export async function withHub(
  work: (hub: HubServer, cache: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await using hub = new HubServer();
    await work(hub, `${folder}/hub`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A test that talks to a server here, skipped with a reason where that is not permitted. */
export function hubTest(
  name: string,
  work: (hub: HubServer, cache: string) => Promise<void>,
): void {
  const { state } = Deno.permissions.querySync({ name: "net", host: "127.0.0.1" });
  const ignore = state !== "granted";
  if (ignore) console.log(`skipped, needs --allow-net=127.0.0.1: ${name}`);
  Deno.test({ name, ignore, fn: () => withHub(work) });
}

/** A file's blob name: SHA-256 of a large one, Git's hash of others. */
export function etagOf(path: string, bytes: Uint8Array): string {
  if (isLarge(path)) return createHash("sha256").update(bytes).digest("hex");
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

/** As the Hub refuses. */
export function refusal(
  status: number,
  code: string,
  message: string,
  more: Readonly<Record<string, string>> = {},
): Response {
  const inHeader: Record<string, string> = message.includes("\n")
    ? {}
    : { "X-Error-Message": message };
  const headers = { "X-Error-Code": code, ...inHeader, ...more };
  return Response.json({ error: message }, { status, headers });
}

/** An answer that breaks off after some bytes of a longer content. */
export function cutAfter(
  bytes: Uint8Array<ArrayBuffer>,
  count: number,
  status = 200,
  headers: HeadersInit = {},
) {
  let isSent = false;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (isSent) return controller.error(new Error("cut"));
      controller.enqueue(bytes.slice(0, count));
      isSent = true;
    },
  });
  return new Response(body, {
    status,
    headers: { "Content-Length": `${bytes.length}`, ...headers },
  });
}

/** A file with this text. */
export const bytesOf = (content: string) => new TextEncoder().encode(content);

function treeOf({ files }: FakeRepo) {
  return [...files].map(([path, bytes]) => {
    const oid = etagOf(path, bytes);
    const { length: size } = bytes;
    if (!isLarge(path)) return { type: "file", path, size, oid };
    return { type: "file", path, size, oid: "a".repeat(40), lfs: { oid, size, pointerSize: 130 } };
  });
}

function withRange(
  request: Request,
  bytes: Uint8Array<ArrayBuffer>,
  etag: string,
  more: Readonly<Record<string, string>> = {},
): Response {
  const headers: Record<string, string> = { ETag: `"${etag}"`, "Accept-Ranges": "bytes", ...more };
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("Range") ?? "");
  if (!range) return new Response(bytes, { headers });
  const [from, to] = [Number(range[1]), range[2] ? Number(range[2]) : bytes.length - 1];
  headers["Content-Range"] = `bytes ${from}-${to}/${bytes.length}`;
  return new Response(bytes.slice(from, to + 1), { status: 206, headers });
}
