/** Repositories with file names that could lead out of the cache: only a file that is wanted is judged by its name. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Choice, hubSnapshot, modelFiles, namedFiles } from "../../io/hub.ts";
import { parseHubId } from "../../io/hub_cache.ts";
import { hubOutline } from "../../io/hub_headers.ts";
import { bytesOf, COMMIT, type HubServer, hubTest } from "./hub_server.ts";

const ODD = [
  ...["../../escape.json", "/tmp/escape.json", "train/../../../escape.json", "./escape.json"],
  ...["a//escape.json", "", "a\\..\\escape.json", "notes: escape.json", "C:escape.json"],
  ...["escape\0.json", "escape\n.json", "..", "folder/"],
];
const MODEL = new Map([
  ["config.json", bytesOf('{"model_type": "llama"}')],
  ["tokenizer.json", bytesOf("{}")],
  ["tokenizer_config.json", bytesOf("{ }")],
  ["model.safetensors", Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d)],
]);
const odd = (name: string) => [name, bytesOf("never wanted")] as const;
const all: Choice = (paths) => Promise.resolve([...paths].sort());

/** Every path below a folder, relative to it. */
function pathsIn(folder: string, prefix = ""): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory ? pathsIn(join(folder, name), `${prefix}${name}/`) : [prefix + name]
  ).sort();
}

/** The files that were asked for. */
const resolved = (hub: HubServer) =>
  hub.taken().filter((line) => line.includes("/resolve/")).map((line) =>
    line.slice(line.lastIndexOf("/") + 1)
  );

hubTest("hub names: odd ones that nobody wants stand in no one's way", async (hub, cache) => {
  hub.repos.set("models/owner/tiny", {
    commit: COMMIT,
    files: new Map([...ODD.map(odd), ...MODEL]),
  });
  const repo = parseHubId("owner/tiny", "model")!;
  assert.deepEqual([...(await hubOutline(repo, hub.options(cache))).tensors], []);
  assert.deepEqual(resolved(hub), [
    ...["config.json", "model.safetensors bytes=0-7", "model.safetensors bytes=8-9"],
  ]);
  const { folder } = await hubSnapshot(repo, modelFiles, hub.options(cache));
  assert.deepEqual(pathsIn(folder), [...MODEL.keys()].sort());
  assert.deepEqual(
    resolved(hub).sort(),
    [...MODEL.keys()].filter((name) => name !== "config.json").sort(),
  );
  await hubSnapshot(repo, modelFiles, hub.options(cache));
  assert.deepEqual(hub.taken(), [], "the cache knows the repository, odd names and all");
  assert.deepEqual(pathsIn(join(cache, "..")).filter((path) => /escape/.test(path)), []);
});

for (const name of ODD) {
  hubTest(
    `hub names: ${JSON.stringify(name)} is refused where it is wanted`,
    async (hub, cache) => {
      const files = new Map([["train/0000.json", bytesOf("[]")], odd(name)]);
      hub.repos.set("datasets/owner/set", { commit: COMMIT, files });
      const repo = parseHubId("owner/set", "dataset")!;
      const refusal = {
        name: "SyntaxError",
        message: `dataset owner/set@main has a file '${name.replace(/[\0\n]/, "?")}', ` +
          "whose name is unsafe; nothing is fetched",
      };
      await assert.rejects(hubSnapshot(repo, all, hub.options(cache)), refusal);
      await assert.rejects(hubSnapshot(repo, namedFiles(name), hub.options(cache)), refusal);
      assert.deepEqual(resolved(hub), []);
      await assert.rejects(Deno.stat(cache), Deno.errors.NotFound, "nothing is written");
      // Nor is it left out in silence once the cache knows what the set has.
      await hubSnapshot(repo, namedFiles("train/0000.json"), hub.options(cache));
      await assert.rejects(hubSnapshot(repo, all, hub.options(cache)), refusal);
      assert.deepEqual(resolved(hub), ["0000.json"]);
      assert.deepEqual(pathsIn(join(cache, "..")).filter((path) => /escape/.test(path)), []);
    },
  );
}

hubTest("hub names: a message shows no control characters of a name", async (hub, cache) => {
  const files = new Map([...MODEL, odd("\x1b[2J\nweights.bin")]);
  files.delete("model.safetensors");
  hub.repos.set("models/owner/tiny", { commit: COMMIT, files });
  await assert.rejects(
    hubSnapshot(parseHubId("owner/tiny", "model")!, modelFiles, hub.options(cache)),
    {
      message:
        "model owner/tiny@main has no model.safetensors; ?[2J?weights.bin is not read: only " +
        "model.safetensors, whole or in shards, is; name a model or revision that has it",
    },
  );
});
