/** A model of the Hub without its weights: what is asked, what is kept, and what is refused. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { hubSnapshot, modelFiles, namedFiles } from "../../io/hub.ts";
import { parseHubId } from "../../io/hub_cache.ts";
import { hubOutline } from "../../io/hub_headers.ts";
import { safetensorsChunks, type TensorData } from "../../io/safetensors.ts";
import {
  bytesOf,
  COMMIT,
  cutAfter,
  etagOf,
  type Fault,
  type HubServer,
  hubTest,
} from "./hub_server.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const REPO = parseHubId("owner/tiny", "model")!;
const RESOLVE = `/owner/tiny/resolve/${COMMIT}`;
const WEIGHTS = "model.safetensors";
const INDEX = `${WEIGHTS}.index.json`;
const SMALL = new Map([
  ["config.json", bytesOf('{"model_type": "llama"}')],
  ["tokenizer.json", bytesOf("{}")],
  ["tokenizer_config.json", bytesOf("{}")],
]);

const bf16 = (...shape: number[]): TensorData => ({
  dtype: "BF16",
  shape,
  data: new Uint16Array(shape.reduce((a, b) => a * b)).fill(7),
});
const f32 = (...shape: number[]): TensorData => ({
  dtype: "F32",
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b)).fill(0.5),
});

/** A file of weights, and how long its header is, the 8 bytes before it included. */
function fileOf(tensors: Record<string, TensorData>): { bytes: Bytes; headerEnd: number } {
  const [header, ...data] = safetensorsChunks(new Map(Object.entries(tensors)));
  const bytes = new Uint8Array([header, ...data].reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of [header, ...data]) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return { bytes, headerEnd: header.length };
}

const { bytes: CONTENT, headerEnd: END } = fileOf({ a: bf16(300, 200), b: f32(100, 3) });
const ETAG = etagOf(WEIGHTS, CONTENT);

function add(hub: HubServer, files: Readonly<Record<string, Bytes>> = { [WEIGHTS]: CONTENT }) {
  const all = new Map([...SMALL, ...Object.entries(files)]);
  hub.repos.set("models/owner/tiny", { commit: COMMIT, files: all });
}

/** Answers the next request for a large file's content. */
function onStorage(hub: HubServer, fault: Fault): void {
  hub.faults.push((asked) => asked.isStorage ? fault(asked) : undefined);
}

/** The ranges that the storage was asked for. */
const ranges = (hub: HubServer) =>
  hub.asked.splice(0).filter(({ isStorage }) => isStorage).map(({ range }) => range);

const infosOf = (tensors: ReadonlyMap<string, { dtype: string; shape: readonly number[] }>) =>
  [...tensors].map(([name, { dtype, shape }]) => [name, dtype, shape.join()]);

/** The files of a folder and below, by name. */
async function namesIn(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) found.push(...await namesIn(join(folder, name)));
    else found.push(name);
  }
  return found.sort();
}

hubTest(
  "headers: config.json and a header of a few bytes, never the weights",
  async (hub, cache) => {
    add(hub);
    const lines: string[] = [];
    const report = {
      show: (line: string) => void lines.push(line),
      progress: (_: unknown, work: (bar: never) => unknown) => work({ update() {} } as never),
    };
    const options = { ...hub.options(cache), report: report as never };
    const { folder, tensors } = await hubOutline(REPO, options);
    assert.deepEqual(infosOf(tensors), [["b", "F32", "100,3"], ["a", "BF16", "300,200"]]);
    assert.equal(folder, `${cache}/models--owner--tiny/snapshots/${COMMIT}`);
    const asked = hub.taken().filter((line) => !line.startsWith("GET /api/"));
    assert.deepEqual(asked, [
      `GET ${RESOLVE}/config.json`,
      `GET ${RESOLVE}/${WEIGHTS} bytes=0-7`,
      `GET /${ETAG} bytes=0-7`,
      `GET ${RESOLVE}/${WEIGHTS} bytes=8-${END - 1}`,
      `GET /${ETAG} bytes=8-${END - 1}`,
    ]);
    assert.deepEqual(lines, [
      "fetching owner/tiny@c0ffee0: config.json",
      `reading only the header of ${WEIGHTS} of owner/tiny`,
    ]);
    const kept = [
      ...["config.json", etagOf("config.json", SMALL.get("config.json")!)],
      ...[`${COMMIT}.json`, "main"],
    ];
    assert.deepEqual(await namesIn(join(cache, "models--owner--tiny")), kept.sort());
    // What a run then needs is not thought to be here.
    await hubSnapshot(REPO, modelFiles, hub.options(cache));
    assert.deepEqual(await Deno.readFile(join(folder, WEIGHTS)), CONTENT);
  },
);

hubTest("headers: a model that the cache has needs no request", async (hub, cache) => {
  add(hub);
  await hubSnapshot(REPO, modelFiles, hub.options(cache));
  hub.taken();
  for (const more of [{}, { HF_HUB_OFFLINE: "1" }] as Record<string, string>[]) {
    const { tensors } = await hubOutline(REPO, hub.options(cache, more));
    assert.deepEqual(infosOf(tensors), [["b", "F32", "100,3"], ["a", "BF16", "300,200"]]);
  }
  assert.deepEqual(hub.taken(), []);
});

hubTest("headers: offline, what is missing is one line and no request", async (hub, cache) => {
  add(hub);
  const offline = hub.options(cache, { HF_HUB_OFFLINE: "1" });
  const message = (what: string) =>
    `model owner/tiny@main: HF_HUB_OFFLINE is set, and ${cache} lacks ${what}; ` +
    "fetch it where there is a network, or name a folder";
  await assert.rejects(hubOutline(REPO, offline), { name: "RangeError", message: message("it") });
  assert.deepEqual(hub.taken(), []);
  await hubOutline(REPO, hub.options(cache));
  hub.taken();
  await assert.rejects(hubOutline(REPO, offline), { message: message("tokenizer.json") });
  assert.deepEqual(hub.taken(), []);
});

hubTest("headers: of shards each, and of one that is here the file's own", async (hub, cache) => {
  const [one, two] = [fileOf({ a: bf16(2, 3), more: f32(9) }), fileOf({ b: f32(4) })];
  const shard = (i: number) => `model-0000${i}-of-00002.safetensors`;
  const index = { weight_map: { a: shard(1), b: shard(2) } };
  const files = { [INDEX]: bytesOf(JSON.stringify(index)), [shard(1)]: one.bytes };
  add(hub, { ...files, [shard(2)]: two.bytes });
  const { tensors } = await hubOutline(REPO, hub.options(cache));
  assert.deepEqual(infosOf(tensors), [["a", "BF16", "2,3"], ["b", "F32", "4"]]);
  assert.deepEqual(ranges(hub), [
    ...["bytes=0-7", `bytes=8-${one.headerEnd - 1}`],
    ...["bytes=0-7", `bytes=8-${two.headerEnd - 1}`],
  ]);
  await hubSnapshot(REPO, namedFiles(shard(1)), hub.options(cache));
  ranges(hub);
  assert.deepEqual(infosOf((await hubOutline(REPO, hub.options(cache))).tensors), [
    ["a", "BF16", "2,3"],
    ["b", "F32", "4"],
  ]);
  assert.deepEqual(ranges(hub), ["bytes=0-7", `bytes=8-${two.headerEnd - 1}`]);
  add(hub, { ...files, [shard(2)]: fileOf({ c: f32(4) }).bytes });
  await assert.rejects(hubOutline(REPO, hub.options(join(cache, "other"))), {
    name: "SyntaxError",
    message: /index\.json: tensor "b" is not in shard "model-00002-of-00002\.safetensors"$/,
  });
});

hubTest("headers: a server without ranges is left after the header", async (hub, cache) => {
  const { bytes, headerEnd } = fileOf({ a: f32(4_000_000) }); // 16 MB
  add(hub, { [WEIGHTS]: bytes });
  const sent: number[] = [];
  let cancelled = 0;
  const whole: Fault = () => {
    const number = sent.push(0) - 1;
    const chunk = 1 << 14;
    const body = new ReadableStream({
      pull(controller) {
        if (sent[number] >= bytes.length) return controller.close();
        controller.enqueue(bytes.slice(sent[number], sent[number] + chunk));
        sent[number] += chunk;
      },
      cancel: () => void cancelled++,
    });
    return new Response(body);
  };
  onStorage(hub, whole);
  onStorage(hub, whole);
  const { tensors } = await hubOutline(REPO, hub.options(cache));
  assert.deepEqual(infosOf(tensors), [["a", "F32", "4000000"]]);
  assert.deepEqual(ranges(hub), ["bytes=0-7", `bytes=8-${headerEnd - 1}`]);
  for (let wait = 0; cancelled < 2 && wait < 200; wait++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(cancelled, 2, "the server is told to stop");
  assert.ok(
    sent.every((count) => count < bytes.length / 2),
    `${sent} of ${bytes.length} were sent`,
  );
});

hubTest("headers: a cut goes on where it was, with and without ranges", async (hub, cache) => {
  add(hub);
  const range = { "Content-Range": `bytes 8-${END - 1}/${CONTENT.length}` };
  onStorage(hub, () => cutAfter(CONTENT, 5));
  onStorage(hub, () => new Response(CONTENT));
  onStorage(hub, () => cutAfter(CONTENT.slice(8, END), 30, 206, range));
  onStorage(hub, () => cutAfter(CONTENT, 40));
  const options = hub.options(cache);
  const { tensors } = await hubOutline(REPO, options);
  assert.deepEqual(infosOf(tensors), [["b", "F32", "100,3"], ["a", "BF16", "300,200"]]);
  assert.deepEqual(ranges(hub), [
    ...["bytes=0-7", "bytes=5-7", `bytes=8-${END - 1}`],
    ...[`bytes=38-${END - 1}`, `bytes=40-${END - 1}`],
  ]);
  assert.equal(options.waits.length, 3);
  for (let i = 0; i < 6; i++) onStorage(hub, () => cutAfter(CONTENT, 3));
  await assert.rejects(hubOutline(REPO, hub.options(join(cache, "other"))), {
    name: "Error",
    message: /: the connection was cut in model\.safetensors \(.*\); 3 of 8 bytes came, run again/,
  });
});

hubTest("headers: other bytes than were asked for are refused", async (hub, cache) => {
  add(hub);
  for (const said of [`bytes 0-7/${CONTENT.length + 1}`, `bytes 1-8/${CONTENT.length}`, ""]) {
    const headers: HeadersInit = said ? { "Content-Range": said } : {};
    onStorage(hub, () => new Response(CONTENT.slice(0, 8), { status: 206, headers }));
    await assert.rejects(hubOutline(REPO, hub.options(cache)), {
      name: "SyntaxError",
      message: `model owner/tiny@main: ${new URL(hub.endpoint).host} answers bytes 0 to 7 of ` +
        `${WEIGHTS} with others (${said || "null"}); run again later, or check HF_ENDPOINT`,
    });
  }
});

hubTest(
  "headers: a hostile one is refused as on the disk, before it is read",
  async (hub, cache) => {
    const withLength = (length: number) => {
      const bytes = CONTENT.slice();
      new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
      return bytes;
    };
    const name = `model owner/tiny@main: ${WEIGHTS}: `;
    const short = CONTENT.slice(0, 7);
    const cut = CONTENT.slice(0, -1);
    const next = "; fetch or save the file again";
    const noJson = CONTENT.slice();
    noJson[8] = 65;
    for (
      const [bytes, message, asked] of [
        [withLength(0), "header length 0; it must be at least 2", ["bytes=0-7"]],
        [withLength(1e8 + 1), "header length 100000001 is larger than the limit, 100 MB", [
          "bytes=0-7",
        ]],
        [
          withLength(1e6),
          `header length 1000000 is larger than the file, ${CONTENT.length} bytes`,
          ["bytes=0-7"],
        ],
        [short, "7 bytes long; the format needs 8 or more", []],
        [noJson, "header starts with byte 65; it must start with {", [
          "bytes=0-7",
          `bytes=8-${END - 1}`,
        ]],
        [
          cut,
          /"a": data_offsets "1200,121200" are out of range; the data has 121199 bytes; fetch or/,
          [
            "bytes=0-7",
            `bytes=8-${END - 1}`,
          ],
        ],
      ] as const
    ) {
      add(hub, { [WEIGHTS]: bytes });
      const where = join(cache, `${bytes.length}-${bytes[0]}-${bytes[3]}-${bytes[8]}`);
      await assert.rejects(hubOutline(REPO, hub.options(where)), {
        name: "SyntaxError",
        message: typeof message === "string" ? `${name}${message}${next}` : message,
      });
      assert.deepEqual(ranges(hub), asked);
    }
  },
);

hubTest(
  "headers: a model that could not be trained is refused before anything",
  async (hub, cache) => {
    const files = new Map([...SMALL, [WEIGHTS, CONTENT]]);
    files.delete("tokenizer.json");
    hub.repos.set("models/owner/tiny", { commit: COMMIT, files });
    await assert.rejects(hubOutline(REPO, hub.options(cache)), {
      name: "RangeError",
      message:
        /^model owner\/tiny@main has no tokenizer\.json; name a model that has config\.json, /,
    });
    await assert.rejects(Deno.stat(cache), Deno.errors.NotFound);
  },
);
