/** A checkpoint to a Hub: what is uploaded and what is not, the card, and one line for each refusal. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { loadCheckpoint, saveCheckpoint } from "../../io/checkpoint.ts";
import { type Config, resolveConfig } from "../../io/config.ts";
import { hubSnapshot, namedFiles } from "../../io/hub.ts";
import { parseHubId } from "../../io/hub_cache.ts";
import { pushCheckpoint } from "../../io/hub_push.ts";
import { COMMIT, HubServer, hubTest, refusal } from "./hub_server.ts";

const TENSOR = { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) };
const TOKEN = { HF_TOKEN: "writer" };

/** A run's folder with a checkpoint, whose model is a folder of this machine. */
async function saveRun(parent: string): Promise<{ path: string; config: Config }> {
  const { config } = await resolveConfig({
    model: "cot",
    overrides: ["lr=0.002", "model_id=/secret/place/my-model"],
  });
  const run = join(parent, "logs/run");
  await Deno.mkdir(join(run, "checkpoints"), { recursive: true });
  const path = join(run, "checkpoints/last");
  await saveCheckpoint(path, {
    tensors: new Map([["w", TENSOR]]),
    optimizer: {
      step: 7,
      moments: new Map([["w", { expAvg: TENSOR.data, expAvgSq: TENSOR.data }]]),
    },
    state: {
      epoch: 1,
      step: 7,
      position: { private: "rows" },
      names: { model: "cot", dataset: "arith", trainer: "default" },
    },
    config,
    monitor: 0.5,
  });
  const score = { acc: 0.5, n_latent_forward: 22.14, interval: [0.4, 0.6] };
  await Deno.writeTextFile(
    join(run, "test.json"),
    JSON.stringify({
      dataset: "arith",
      num_questions: 300,
      checkpoint: "elsewhere/checkpoints/last",
      rows: [{ label: "cot", greedy: score }],
      speeds: [{ predictions: "not for others" }],
    }),
  );
  const environment = {
    deno: "2.0.0",
    os: "linux",
    arch: "x86_64",
    adapter: { description: "A GPU" },
  };
  await Deno.writeTextFile(join(run, "environment.json"), JSON.stringify(environment));
  return { path, config };
}

const textOf = (base64: string) => new TextDecoder().decode(Uint8Array.fromBase64(base64));

/** The files of the server's only commit, as text or as the SHA-256 of what was uploaded. */
function committed(hub: HubServer): Record<string, string> {
  assert.equal(hub.commits.length, 1);
  const entries = hub.commits[0].filter(({ key }) => key !== "header").map((line) => {
    const { path, content, oid } = line.value as Record<string, string>;
    return [path, line.key === "file" ? textOf(content) : oid];
  });
  return Object.fromEntries(entries);
}

hubTest("push: tensors, configuration and card, and never more", async (hub, cache) => {
  const { path } = await saveRun(cache);
  const pushed = await pushCheckpoint({ path, repo: "me/tiny" }, hub.options(cache, TOKEN));
  assert.deepEqual([pushed.url, pushed.commit], [`${hub.endpoint}/me/tiny`, COMMIT]);
  assert.deepEqual(hub.created, [{
    type: "model",
    name: "tiny",
    organization: "me",
    private: true,
  }]);
  const files = committed(hub);
  assert.deepEqual(Object.keys(files).sort(), [
    "README.md",
    "config.yaml",
    "model.safetensors",
    "state.json",
  ]);
  assert.deepEqual([...pushed.sizes.keys()].sort(), Object.keys(files).sort());
  assert.equal(hub.uploaded.size, 1);
  const [[oid, bytes]] = hub.uploaded;
  assert.equal(files["model.safetensors"], oid);
  assert.equal(createHash("sha256").update(bytes).digest("hex"), oid);
  for (const text of Object.values(files)) {
    for (const secret of ["/secret", "position", "not for others", "exp_avg", "writer", cache]) {
      assert.ok(!text.includes(secret), `${secret} in ${text}`);
    }
  }
  for (const { isStorage, authorization } of hub.asked) {
    assert.equal(authorization, isStorage ? null : "Bearer writer");
  }
  assert.match(files["README.md"], /\n\.\/denow task train \\\n {2}--model=cot \\\n/);
  assert.match(files["README.md"], /\n\| cot \| 50\.0 % \(40\.0 to 60\.0\) \| 22\.1 \|/);
});

hubTest("push: what was uploaded is a checkpoint again", async (hub, cache) => {
  const { path, config } = await saveRun(cache);
  await pushCheckpoint({ path, repo: "me/tiny" }, hub.options(cache, TOKEN));
  const choice = namedFiles("model.safetensors", "state.json");
  const { folder } = await hubSnapshot(parseHubId("me/tiny", "model")!, choice, hub.options(cache));
  const loaded = await loadCheckpoint(folder);
  assert.deepEqual(loaded.tensors.get("w"), TENSOR);
  assert.equal(loaded.optimizer, undefined);
  assert.equal(loaded.monitor, 0.5);
  assert.deepEqual(Object.keys(loaded.state).sort(), ["epoch", "names", "step"]);
  const { model_kwargs } = (loaded.config as Config).model;
  assert.equal(model_kwargs.model_id, "my-model");
  assert.deepEqual({ ...model_kwargs, model_id: "" }, {
    ...config.model.model_kwargs,
    model_id: "",
  });
});

hubTest("push: a repository that is there already, and one that is public", async (hub, cache) => {
  const { path } = await saveRun(cache);
  hub.repos.set("models/me/tiny", { commit: COMMIT, files: new Map() });
  await pushCheckpoint({ path, repo: "me/tiny" }, hub.options(cache, TOKEN));
  await pushCheckpoint({ path, repo: "me/open", isPublic: true }, hub.options(cache, TOKEN));
  assert.deepEqual(hub.created.map((body) => body.private), [true, false]);
  assert.equal(hub.commits.length, 2);
});

hubTest(
  "push: refusals are one line, and nothing is made before a mistake is told",
  async (hub, cache) => {
    const { path } = await saveRun(cache);
    const push = (repo: string, variables: Record<string, string>, ckpt = path) =>
      pushCheckpoint({ path: ckpt, repo }, hub.options(cache, variables));
    await assert.rejects(push("tiny", TOKEN), {
      name: "RangeError",
      message: "--repo must be owner/name, as in --repo=me/colar-arith, got 'tiny'",
    });
    await assert.rejects(push("me/tiny@v1", TOKEN), { name: "RangeError" });
    await assert.rejects(push("me/tiny", {}), {
      name: "RangeError",
      message: "push needs a token that may write; set HF_TOKEN to one of your account's",
    });
    await assert.rejects(push("me/tiny", { ...TOKEN, HF_HUB_OFFLINE: "1" }), {
      message: "push needs the Hub, but HF_HUB_OFFLINE is set; unset it",
    });
    await assert.rejects(push("me/tiny", TOKEN, join(path, "..")), { name: "RangeError" });
    assert.deepEqual(hub.taken(), []);
    const { host } = new URL(hub.endpoint);
    hub.faults.push(() => refusal(403, "", "You may not create a model under me"));
    await assert.rejects(push("me/tiny", TOKEN), {
      name: "RangeError",
      message: `model me/tiny: ${host} answers 403 (You may not create a model under me); ` +
        "the token in HF_TOKEN needs that permission",
    });
    hub.faults.push(({ isStorage }) => isStorage ? refusal(500, "", "no room") : undefined);
    await assert.rejects(push("me/tiny", TOKEN), {
      name: "Error",
      message:
        `model me/tiny: ${host} answers 500 (no room); run again later, or check HF_ENDPOINT`,
    });
    assert.equal(hub.commits.length, 0, "no commit without its files");
  },
);
