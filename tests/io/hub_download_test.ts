/** One file of the Hub under faults: cut, silent, changed, and a disk that refuses; nothing half is ever seen under its name. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { hubSnapshot, namedFiles } from "../../io/hub.ts";
import { parseHubId } from "../../io/hub_cache.ts";
import type { PartFile } from "../../io/hub_download.ts";
import type { HubOptions } from "../../io/hub.ts";
import {
  bytesOf,
  COMMIT,
  cutAfter,
  etagOf,
  type Fault,
  type HubServer,
  hubTest,
} from "./hub_server.ts";

const REPO = parseHubId(`owner/tiny@${COMMIT}`, "model")!;
const CONTENT = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 7) % 253);
const NAME = "model.safetensors";
const SMALL = "config.json";
const ETAG = etagOf(NAME, CONTENT);

function blobOf(cache: string, etag = ETAG): string {
  return join(cache, "models--owner--tiny/blobs", etag);
}

function add(hub: HubServer): void {
  const files = new Map([[NAME, CONTENT], [SMALL, bytesOf('{"a": 1}')], [
    "empty.json",
    bytesOf(""),
  ]]);
  hub.repos.set("models/owner/tiny", { commit: COMMIT, files });
}

async function fetched(options: HubOptions, name = NAME): Promise<Uint8Array> {
  const { folder } = await hubSnapshot(REPO, namedFiles(name), options);
  return await Deno.readFile(join(folder, name));
}

/** Answers the next request for the large file's content. */
function onStorage(hub: HubServer, fault: Fault): void {
  hub.faults.push((asked) => asked.isStorage ? fault(asked) : undefined);
}

const ranges = (hub: HubServer) =>
  hub.taken().filter((line) => line.startsWith(`GET /${ETAG}`)).map((line) => line.split(" ")[2]);

hubTest("download: a cut connection goes on where it was cut", async (hub, cache) => {
  add(hub);
  onStorage(hub, () => cutAfter(CONTENT, 70_000));
  onStorage(
    hub,
    () => cutAfter(CONTENT.slice(70_000), 30_000, 206, { "Content-Range": "bytes 70000-" }),
  );
  const options = hub.options(cache);
  assert.deepEqual(await fetched(options), CONTENT);
  assert.deepEqual(ranges(hub), [undefined, "bytes=70000-199999", "bytes=100000-199999"]);
  assert.equal(options.waits.length, 2);
  await assert.rejects(Deno.stat(`${blobOf(cache)}.incomplete`), Deno.errors.NotFound);
});

hubTest("download: a server without ranges sends all again", async (hub, cache) => {
  add(hub);
  onStorage(hub, () => cutAfter(CONTENT, 70_000));
  onStorage(hub, () => new Response(CONTENT));
  assert.deepEqual(await fetched(hub.options(cache)), CONTENT);
});

hubTest(
  "download: cut for good is one line, and the next run asks for the rest",
  async (hub, cache) => {
    add(hub);
    onStorage(hub, () => cutAfter(CONTENT, 50_000));
    for (let i = 0; i < 10; i++) {
      onStorage(hub, () => cutAfter(CONTENT, 0, 206, { "Content-Range": "bytes 50000-" }));
    }
    await assert.rejects(fetched(hub.options(cache)), {
      name: "Error",
      message: new RegExp(
        `^model owner/tiny@${COMMIT}: the connection was cut in ${NAME} \\([^\\n]*\\); ` +
          "50000 of 200000 bytes are kept, run again to go on$",
      ),
    });
    await assert.rejects(Deno.stat(blobOf(cache)), Deno.errors.NotFound);
    hub.faults.length = 0;
    hub.taken();
    assert.deepEqual(await fetched(hub.options(cache)), CONTENT);
    assert.deepEqual(ranges(hub), ["bytes=50000-199999"]);
  },
);

hubTest("download: a silent server counts as cut", async (hub, cache) => {
  add(hub);
  const { promise: end, resolve } = Promise.withResolvers<void>();
  onStorage(hub, () => {
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(CONTENT.slice(0, 1000)),
      pull: () => end,
    });
    return new Response(body);
  });
  try {
    assert.deepEqual(await fetched({ ...hub.options(cache), silenceMs: 300 }), CONTENT);
    assert.deepEqual(ranges(hub), [undefined, "bytes=1000-199999"]);
  } finally {
    resolve();
  }
});

hubTest(
  "download: content that is not what was listed is fetched anew, then refused",
  async (hub, cache) => {
    add(hub);
    const changed = CONTENT.slice();
    changed[123_456]++;
    onStorage(hub, () => new Response(changed));
    assert.deepEqual(await fetched(hub.options(cache)), CONTENT);

    for (
      const [name, wrong, what] of [[NAME, changed, "SHA-256"], [
        SMALL,
        bytesOf('{"a": 2}'),
        "hash",
      ]] as const
    ) {
      const other = `${cache}-${what}`;
      const isContent: Fault = ({ path, isStorage }) =>
        isStorage || path.endsWith(SMALL) ? new Response(wrong) : undefined;
      hub.faults.push(isContent, isContent);
      await assert.rejects(fetched(hub.options(other), name), {
        name: "SyntaxError",
        message:
          `model owner/tiny@${COMMIT}: ${name} is not what ${
            new URL(hub.endpoint).host
          } lists (its ${what} ` +
          "differs), twice; run again later, or check HF_ENDPOINT",
      });
      const left = [...Deno.readDirSync(join(other, "models--owner--tiny/blobs"))];
      assert.deepEqual(left.filter((entry) => !entry.name.endsWith(".incomplete")), []);
    }
  },
);

hubTest(
  "download: what an earlier run left is checked, and dropped when it is wrong",
  async (hub, cache) => {
    add(hub);
    await Deno.mkdir(join(cache, "models--owner--tiny/blobs"), { recursive: true });
    for (
      const left of [CONTENT.slice(0, 1000), new Uint8Array(1000), new Uint8Array(200_001), CONTENT]
    ) {
      await Deno.remove(join(cache, "models--owner--tiny/snapshots"), { recursive: true }).catch(
        () => {},
      );
      await Deno.remove(blobOf(cache)).catch(() => {});
      await Deno.writeFile(`${blobOf(cache)}.incomplete`, left);
      assert.deepEqual(await fetched(hub.options(cache)), CONTENT);
    }
    assert.deepEqual(ranges(hub), ["bytes=1000-199999", "bytes=1000-199999", undefined, undefined]);
  },
);

hubTest("download: a blob of another length is replaced", async (hub, cache) => {
  add(hub);
  await Deno.mkdir(join(cache, "models--owner--tiny/blobs"), { recursive: true });
  await Deno.writeFile(blobOf(cache), CONTENT.slice(0, 5));
  assert.deepEqual(await fetched(hub.options(cache)), CONTENT);
});

hubTest("download: an empty file", async (hub, cache) => {
  add(hub);
  assert.equal((await fetched(hub.options(cache), "empty.json")).length, 0);
});

hubTest("download: two at once fetch it once", async (hub, cache) => {
  add(hub);
  const both = await Promise.all([fetched(hub.options(cache)), fetched(hub.options(cache))]);
  assert.deepEqual(both, [CONTENT, CONTENT]);
  assert.equal(ranges(hub).length, 1);
});

hubTest(
  "download: a full disk is one line and leaves no file under its name",
  async (hub, cache) => {
    add(hub);
    const kept: number[] = [];
    const full: PartFile = {
      read: () => Promise.resolve(null),
      append(bytes) {
        if (kept.push(bytes.length) < 2) return Promise.resolve();
        return Promise.reject(new Error("No space left on device (os error 28)"));
      },
      clear: () => Promise.resolve(),
      sync: () => Promise.resolve(),
      [Symbol.dispose]() {},
    };
    const open = () => Promise.resolve(full);
    await assert.rejects(fetched({ ...hub.options(cache), open }), {
      name: "Error",
      message:
        `model owner/tiny@${COMMIT}: cannot write ${NAME} (200000 bytes) in ${
          join(cache, "models--owner--tiny/blobs")
        }: ` +
        "No space left on device (os error 28); what was fetched is kept; free disk space or allow " +
        "writing there, or name another cache with HF_HOME, and run again",
    });
    await assert.rejects(Deno.stat(blobOf(cache)), Deno.errors.NotFound);
  },
);
