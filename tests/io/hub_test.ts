/** Models and data sets of a Hub: what is asked, what is fetched, what is used from the cache, and what is refused. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Choice, hubSnapshot, modelFiles, namedFiles, tokenizerFiles } from "../../io/hub.ts";
import { parseHubId } from "../../io/hub_cache.ts";
import { diskError } from "../../io/hub_download.ts";
import { Report } from "../../io/report.ts";
import {
  bytesOf,
  COMMIT,
  cutAfter,
  etagOf,
  type HubServer,
  hubTest,
  refusal,
} from "./hub_server.ts";

const REPO = parseHubId("owner/tiny", "model")!;
const WEIGHTS = Uint8Array.from({ length: 300_000 }, (_, i) => (i * i) % 251);
const MODEL = new Map([
  ["config.json", bytesOf('{"model_type": "llama"}')],
  ["tokenizer.json", bytesOf("{}")],
  ["tokenizer_config.json", bytesOf('{"eos_token": "é"}')],
  ["model.safetensors", WEIGHTS],
  ["pytorch_model.bin", bytesOf("a pickle")],
  ["onnx/model.safetensors", bytesOf("another format")],
  ["README.md", bytesOf("# tiny")],
]);
const RESOLVE = `/owner/tiny/resolve/${COMMIT}`;
const STORED = `GET /${etagOf("model.safetensors", WEIGHTS)}`;

function add(hub: HubServer, files: ReadonlyMap<string, Uint8Array<ArrayBuffer>> = MODEL) {
  hub.repos.set("models/owner/tiny", { commit: COMMIT, files });
}

hubTest(
  "hub: a model is fetched once, only what is needed, into the shared layout",
  async (hub, cache) => {
    add(hub);
    const { waits: _, ...options } = hub.options(cache);
    const { folder, name, commit } = await hubSnapshot(REPO, modelFiles, options);
    assert.deepEqual([folder, name, commit], [
      `${cache}/models--owner--tiny/snapshots/${COMMIT}`,
      "owner/tiny",
      COMMIT,
    ]);
    assert.deepEqual(
      hub.taken().sort(),
      [
        STORED,
        `GET ${RESOLVE}/config.json`,
        `GET ${RESOLVE}/model.safetensors`,
        `GET ${RESOLVE}/tokenizer.json`,
        `GET ${RESOLVE}/tokenizer_config.json`,
        "GET /api/models/owner/tiny/revision/main",
        ...Array(3).fill(`GET /api/models/owner/tiny/tree/${COMMIT}`),
      ].sort(),
    );
    const names = [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
    assert.deepEqual(names, [
      "config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    assert.deepEqual(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
    const top = join(cache, "models--owner--tiny");
    assert.equal(await Deno.readTextFile(join(top, "refs/main")), COMMIT);
    const blobs = [...Deno.readDirSync(join(top, "blobs"))].map((entry) => entry.name).sort();
    assert.deepEqual(blobs, names.map((path) => etagOf(path, MODEL.get(path)!)).sort());

    await hubSnapshot(REPO, modelFiles, options);
    await hubSnapshot({ ...REPO, revision: COMMIT }, modelFiles, options);
    assert.deepEqual(hub.taken(), [], "the cache needs no request");
    const offline = hub.options(cache, { HF_HUB_OFFLINE: "1" });
    assert.equal((await hubSnapshot(REPO, modelFiles, offline)).folder, folder);
  },
);

for (const isSharded of [false, true]) {
  const weights = isSharded ? "in shards" : "in one file";
  hubTest(
    `hub: a cache as Python leaves it, weights ${weights}, needs no request`,
    async (hub, cache) => {
      const files = new Map(MODEL);
      if (isSharded) {
        files.delete("model.safetensors");
        const weight_map = { a: "a.safetensors", b: "b.safetensors" };
        files.set("model.safetensors.index.json", bytesOf(JSON.stringify({ weight_map })));
        for (const shard of Object.values(weight_map)) files.set(shard, bytesOf(shard));
      }
      add(hub, files);
      const { folder } = await hubSnapshot(REPO, modelFiles, hub.options(cache));
      const top = join(cache, "models--owner--tiny");
      await Deno.remove(join(top, "trees"), { recursive: true }); // Python keeps no list of files,
      await Deno.mkdir(join(top, ".no_exist", COMMIT), { recursive: true }); // but what is not there,
      await Deno.writeTextFile(join(top, ".no_exist", COMMIT, "adapter_config.json"), "");
      await Deno.writeFile(join(folder, "README.md"), files.get("README.md")!); // and more files
      hub.taken();
      for (const repo of [REPO, { ...REPO, revision: COMMIT }]) {
        for (const HF_HUB_OFFLINE of ["0", "1"]) {
          for (const choice of [modelFiles, tokenizerFiles]) {
            const found = await hubSnapshot(repo, choice, hub.options(cache, { HF_HUB_OFFLINE }));
            assert.deepEqual(found, { folder, name: "owner/tiny", commit: COMMIT });
          }
        }
      }
      assert.deepEqual(hub.taken(), []);
      await Deno.remove(join(folder, isSharded ? "b.safetensors" : "model.safetensors"));
      await hubSnapshot(REPO, modelFiles, hub.options(cache));
      assert.ok(hub.taken().length > 0, "what is missing is still asked for");
    },
  );
}

hubTest(
  "hub: a commit is not asked for, a lost file alone is fetched again",
  async (hub, cache) => {
    add(hub);
    const pinned = { ...REPO, revision: COMMIT };
    const { folder } = await hubSnapshot(pinned, modelFiles, hub.options(cache));
    assert.ok(!hub.taken().some((path) => path.includes("/revision/")));
    await Deno.remove(join(folder, "tokenizer.json"));
    await hubSnapshot(pinned, modelFiles, hub.options(cache));
    // Its blob is still here.
    assert.deepEqual(hub.taken().filter((path) => path.includes("resolve")), []);
    await Deno.remove(join(folder, "tokenizer.json"));
    await Deno.remove(join(folder, "../../blobs", etagOf("tokenizer.json", bytesOf("{}"))));
    await hubSnapshot(pinned, modelFiles, hub.options(cache));
    assert.deepEqual(hub.taken().filter((path) => path.includes("resolve")), [
      `GET ${RESOLVE}/tokenizer.json`,
    ]);
  },
);

hubTest("hub: the token goes to the Hub and not to its storage", async (hub, cache) => {
  add(hub);
  await hubSnapshot(REPO, modelFiles, hub.options(cache, { HF_TOKEN: "any-form" }));
  for (const { isStorage, authorization } of hub.asked) {
    assert.equal(authorization, isStorage ? null : "Bearer any-form");
  }
  assert.equal(hub.asked.filter(({ isStorage }) => isStorage).length, 1);
});

hubTest("hub: shards are those that the index names", async (hub, cache) => {
  const shard = (i: number) => `model-0000${i}-of-00002.safetensors`;
  const index = bytesOf(JSON.stringify({ weight_map: { a: shard(2), b: shard(1), c: shard(2) } }));
  const files = new Map(MODEL);
  files.delete("model.safetensors");
  files.set("model.safetensors.index.json", index);
  files.set(shard(1), bytesOf("one")).set(shard(2), bytesOf("two")).set(
    "extra.safetensors",
    WEIGHTS,
  );
  add(hub, files);
  const { folder } = await hubSnapshot(REPO, modelFiles, hub.options(cache));
  const names = [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
  assert.deepEqual(
    names,
    [
      "config.json",
      shard(1),
      shard(2),
      "model.safetensors.index.json",
      "tokenizer.json",
      "tokenizer_config.json",
    ].sort(),
  );
  assert.equal(hub.taken().filter((path) => path.endsWith("index.json")).length, 1);

  for (
    const [weight_map, message] of [
      [
        { a: "../../escape" },
        /model owner\/tiny@main has a file '..\/..\/escape', whose name is unsafe/,
      ],
      [{ a: "model-9.safetensors" }, /has no model-9.safetensors, which its .*index.json names/],
      [{}, /index.json names no shards/],
    ] as const
  ) {
    files.set("model.safetensors.index.json", bytesOf(JSON.stringify({ weight_map })));
    await assert.rejects(hubSnapshot(REPO, modelFiles, hub.options(`${cache}${message}`)), {
      message,
    });
  }
});

hubTest("hub: files of a data set by name", async (hub, cache) => {
  const files = new Map([["main/train 1.parquet", WEIGHTS], ["b.json", bytesOf("[]")]]);
  hub.repos.set("datasets/owner/set", { commit: COMMIT, files });
  const repo = parseHubId("owner/set", "dataset")!;
  const choice = namedFiles("main/train 1.parquet");
  const { folder } = await hubSnapshot(repo, choice, hub.options(cache));
  assert.equal(folder, `${cache}/datasets--owner--set/snapshots/${COMMIT}`);
  assert.deepEqual(await Deno.readFile(join(folder, "main/train 1.parquet")), WEIGHTS);
  await assert.rejects(Deno.stat(join(folder, "b.json")));
  await assert.rejects(hubSnapshot(repo, namedFiles("c.json"), hub.options(cache)), {
    name: "RangeError",
    message: "dataset owner/set@main has no c.json; name a revision that has it",
  });
});

hubTest("hub: a part of a data set is not taken for all of it", async (hub, cache) => {
  const files = new Map(["0000", "0001"].map((i) => [`train/${i}.parquet`, bytesOf(i)]));
  hub.repos.set("datasets/owner/set", { commit: COMMIT, files });
  const repo = parseHubId("owner/set", "dataset")!;
  const all: Choice = (paths) => Promise.resolve([...paths].sort());
  const { folder } = await hubSnapshot(repo, namedFiles("train/0000.parquet"), hub.options(cache));
  hub.taken();
  await hubSnapshot(repo, all, hub.options(cache));
  assert.deepEqual(hub.taken().map((line) => line.split("/").at(-1)), [
    "main",
    "0001.parquet",
    etagOf("0001.parquet", bytesOf("0001")),
  ]);
  // Without the list, as tools of another version leave it, it is asked for.
  await Deno.remove(join(folder, "../../trees"), { recursive: true });
  await hubSnapshot(repo, all, hub.options(cache));
  assert.equal(hub.taken().length, 2);
  assert.ok((await Deno.stat(join(folder, `../../trees/${COMMIT}.json`))).isFile);
});

hubTest("hub: progress in bytes, and what is fetched", async (hub, cache) => {
  add(hub);
  const lines: string[] = [];
  const report = new Report();
  report.show = (line) => void lines.push(line);
  const updates: number[] = [];
  report.progress = async (options, work) => {
    assert.deepEqual(options, { label: "fetch", total: 300_000 + 23 + 2 + 19, isBytes: true });
    return await work({ update: (done: number) => void updates.push(done) } as never);
  };
  await hubSnapshot(REPO, modelFiles, { ...hub.options(cache), report });
  assert.deepEqual(lines, [
    "fetching owner/tiny@c0ffee0: config.json, tokenizer.json, tokenizer_config.json, model.safetensors",
  ]);
  assert.ok(updates.every((done, i) => i === 0 || done >= updates[i - 1]));
  assert.equal(updates.at(-1), 300_044);
});

const SUBJECT = "model owner/tiny@main";
const refusals: [string, Response, Record<string, string>, string, string][] = [
  [
    "401 without a token",
    refusal(401, "", "Invalid credentials"),
    {},
    "RangeError",
    "answers 401: private, gated or not there; check the name, or set HF_TOKEN to a token that may read it",
  ],
  [
    "401 with a token",
    refusal(401, "", "Invalid credentials"),
    { HF_TOKEN: "x" },
    "RangeError",
    "answers 401: it does not accept the token in HF_TOKEN; set a valid one",
  ],
  [
    "gated, with a token",
    refusal(403, "GatedRepo", "Access is restricted"),
    { HF_TOKEN: "x" },
    "RangeError",
    "answers 403, gated; accept its terms at ENDPOINT/owner/tiny with the account of HF_TOKEN",
  ],
  [
    "gated, without",
    refusal(401, "GatedRepo", "Access is restricted"),
    {},
    "RangeError",
    "answers 401, gated; accept its terms at ENDPOINT/owner/tiny and set HF_TOKEN to your token",
  ],
  [
    "404",
    refusal(404, "RepoNotFound", ""),
    { HF_TOKEN: "x" },
    "RangeError",
    "answers 404, nothing of that name; check it",
  ],
  [
    "404 of a revision",
    refusal(404, "RevisionNotFound", ""),
    {},
    "RangeError",
    "answers 404, no such revision; name a branch, tag or commit after @",
  ],
  [
    "429 for too long",
    refusal(429, "", "", { "Retry-After": "3700" }),
    {},
    "Error",
    "answers 429, too many requests; run again in 1:01:40 (m:ss); with HF_TOKEN more is allowed",
  ],
  [
    "418",
    refusal(418, "", "a tea\npot"),
    {},
    "Error",
    "answers 418 (a tea pot); run again later, or check HF_ENDPOINT",
  ],
];
for (const [name, response, more, type, text] of refusals) {
  hubTest(`hub: ${name} is one line`, async (hub, cache) => {
    add(hub);
    hub.faults.push(() => response);
    const message = `${SUBJECT}: ${new URL(hub.endpoint).host} ${
      text.replace("at ENDPOINT/", `at ${hub.endpoint}/`)
    }`;
    await assert.rejects(hubSnapshot(REPO, modelFiles, hub.options(cache, more)), {
      name: type,
      message,
    });
  });
}

hubTest("hub: it waits as long as a busy Hub says, and tries again", async (hub, cache) => {
  add(hub);
  hub.faults.push(() => refusal(429, "", "", { "Retry-After": "7" }));
  hub.faults.push(() => refusal(429, "", "", { "RateLimit": '"api";r=0;t=9' }));
  hub.faults.push(() => new Response(null, { status: 503 }));
  const options = hub.options(cache);
  await hubSnapshot(REPO, modelFiles, options);
  assert.deepEqual(options.waits, [7000, 9000, 4000]);
});

hubTest("hub: a busy Hub that stays so is an error", async (hub, cache) => {
  add(hub);
  for (let i = 0; i < 4; i++) hub.faults.push(() => new Response(null, { status: 502 }));
  await assert.rejects(hubSnapshot(REPO, modelFiles, hub.options(cache)), {
    name: "Error",
    message: /answers 502; run again later, or check HF_ENDPOINT$/,
  });
});

hubTest("hub: what is not a Hub", async (hub, cache) => {
  hub.faults.push(() => new Response("<html>Sign in</html>"));
  await assert.rejects(hubSnapshot(REPO, modelFiles, hub.options(cache)), {
    name: "SyntaxError",
    message:
      /^model owner\/tiny@main: 127\.0\.0\.1:\d+ gives no answer of the Hub's \(.*\); check HF_ENDPOINT$/,
  });
});

hubTest("hub: a tokenizer without its model, with the files it may have", async (hub, cache) => {
  const files = new Map(MODEL);
  files.set("special_tokens_map.json", bytesOf('{"eos_token": "é"}'));
  add(hub, files);
  const namesIn = (folder: string) =>
    [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
  const tokenizer = ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"];
  const { folder } = await hubSnapshot(REPO, tokenizerFiles, hub.options(cache));
  assert.deepEqual(namesIn(folder), ["config.json", ...tokenizer]);
  await hubSnapshot(REPO, modelFiles, hub.options(cache));
  assert.deepEqual(namesIn(folder), ["config.json", "model.safetensors", ...tokenizer]);
  files.delete("tokenizer_config.json");
  const without = hub.options(join(cache, "other"));
  await assert.rejects(hubSnapshot(REPO, tokenizerFiles, without), {
    name: "RangeError",
    message: `${SUBJECT} has no tokenizer_config.json; name a revision that has it`,
  });
});

hubTest("hub: no model in it, or no weights that are read", async (hub, cache) => {
  const files = new Map(MODEL);
  files.delete("model.safetensors");
  add(hub, files);
  await assert.rejects(hubSnapshot(REPO, modelFiles, hub.options(cache)), {
    name: "RangeError",
    message:
      `${SUBJECT} has no model.safetensors; pytorch_model.bin is not read: only model.safetensors, ` +
      "whole or in shards, is; name a model or revision that has it",
  });
  files.delete("tokenizer.json");
  await assert.rejects(hubSnapshot(REPO, modelFiles, hub.options(cache)), {
    message:
      `${SUBJECT} has no tokenizer.json; name a model that has config.json, tokenizer.json, tokenizer_config.json`,
  });
  await assert.rejects(Deno.stat(cache), Deno.errors.NotFound, "nothing was fetched");
});

hubTest("hub: offline, an empty cache and a part of a model are named", async (hub, cache) => {
  add(hub);
  const offline = hub.options(cache, { HF_HUB_OFFLINE: "true" });
  const message = (what: string) =>
    `${SUBJECT}: HF_HUB_OFFLINE is set, and ${cache} lacks ${what}; ` +
    "fetch it where there is a network, or name a folder";
  await assert.rejects(hubSnapshot(REPO, modelFiles, offline), {
    name: "RangeError",
    message: message("it"),
  });
  const { folder } = await hubSnapshot(REPO, modelFiles, hub.options(cache));
  await Deno.remove(join(folder, "model.safetensors"));
  hub.taken();
  await assert.rejects(hubSnapshot(REPO, modelFiles, offline), {
    message: message("model.safetensors"),
  });
  assert.deepEqual(hub.taken(), []);
});

hubTest("hub: nothing listens at the endpoint", async (hub, cache) => {
  const options = hub.options(cache, { HF_ENDPOINT: "http://127.0.0.1:9" });
  await assert.rejects(hubSnapshot(REPO, modelFiles, options), {
    name: "Error",
    message:
      /^model owner\/tiny@main: cannot reach 127\.0\.0\.1:9 \([^\n]*\); check the connection and HF_ENDPOINT; what is in the cache needs no connection$/,
  });
  assert.deepEqual(options.waits, [1000, 2000, 4000]);
  assert.deepEqual(hub.taken(), []);
});

hubTest(
  "hub: an interrupted download keeps its part under no good name, and goes on",
  async (hub, cache) => {
    add(hub);
    const controller = new AbortController();
    hub.faults.push(({ isStorage }) => {
      if (!isStorage) return undefined;
      setTimeout(() => controller.abort(), 50);
      return cutAfter(WEIGHTS, 1000);
    });
    const options = {
      ...hub.options(cache),
      sleep: () => new Promise<void>((r) => setTimeout(r, 100)),
    };
    await assert.rejects(hubSnapshot(REPO, modelFiles, { ...options, signal: controller.signal }), {
      name: "AbortError",
    });
    const top = join(cache, "models--owner--tiny");
    const blob = etagOf("model.safetensors", WEIGHTS);
    await assert.rejects(Deno.stat(join(top, "blobs", blob)), Deno.errors.NotFound);
    assert.equal((await Deno.stat(join(top, "blobs", `${blob}.incomplete`))).size, 1000);
    hub.taken();
    const { folder } = await hubSnapshot(REPO, modelFiles, options);
    assert.ok(hub.taken().includes(`GET /${blob} bytes=1000-299999`));
    assert.deepEqual(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
  },
);

hubTest("hub: a cache where this program may not write", async (hub) => {
  add(hub);
  const next =
    "what was fetched is kept; free disk space or allow writing there, or name another " +
    "cache with HF_HOME, and run again";
  const cannot = `${SUBJECT}: cannot write to /proc/x/hub`;
  await assert.rejects(hubSnapshot(REPO, modelFiles, hub.options("/proc/x/hub")), {
    name: "Error",
    message: new RegExp(`^${cannot}: Requires write access to "/proc/x/hub/.*; ${next}$`),
  });
  // With every right to write, Deno still refuses /proc, in words of which the last are of no use.
  const words = 'Requires all access to "/proc/x/hub", run again with the --allow-all flag';
  const told = diskError(new Deno.errors.NotCapable(words), SUBJECT, "to /proc/x/hub") as Error;
  assert.equal(told.message, `${cannot}: it is the system's own folder; ${next}`);
});

hubTest("hub: a cache that cannot be written", async (hub, cache) => {
  add(hub);
  await Deno.writeTextFile(cache, "a file where the folder should be");
  await assert.rejects(hubSnapshot(REPO, modelFiles, hub.options(cache)), {
    name: "Error",
    message: new RegExp(
      `^${SUBJECT}: cannot write to ${cache}: [^\n]*\\(os error \\d+\\); what was fetched is kept; ` +
        "free disk space or allow writing there, or name another cache with HF_HOME, and run again$",
    ),
  });
});
