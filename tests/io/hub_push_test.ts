/** A checkpoint to a Hub: what is uploaded and what is not, the card, and one line for each refusal. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { loadCheckpoint, saveCheckpoint } from "../../io/checkpoint.ts";
import { type Config, resolveConfig, restoreConfig } from "../../io/config.ts";
import { hubSnapshot, namedFiles } from "../../io/hub.ts";
import { parseHubId } from "../../io/hub_cache.ts";
import { pushCheckpoint } from "../../io/hub_push.ts";
import { Progress, type ProgressOptions } from "../../io/progress.ts";
import { COMMIT, HubServer, hubTest, refusal } from "./hub_server.ts";

const TENSOR = { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) };
const TOKEN = { HF_TOKEN: "writer" };

/** A run's folder with a checkpoint, whose model is a folder of this machine. */
async function saveRun(parent: string, model = "cot"): Promise<{ path: string; config: Config }> {
  const { config } = await resolveConfig({
    model,
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
      names: { model, dataset: "arith", trainer: "default" },
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

hubTest("push: its progress ends at everything", async (hub, cache) => {
  const { path } = await saveRun(cache);
  const shown: string[] = [];
  const report = {
    show: (line: string) => void shown.push(line),
    progress: <T>(options: ProgressOptions, work: (bar: Progress) => Promise<T>) =>
      work(new Progress({ ...options, isTerminal: false, write: (text) => void shown.push(text) })),
  };
  await pushCheckpoint({ path, repo: "me/tiny" }, { ...hub.options(cache, TOKEN), report });
  assert.match(shown[0], /^uploading to me\/tiny: README\.md \(\d+ bytes\), config\.yaml/);
  assert.match(shown.at(-1)!, /^upload 0\.0\/0\.0 MB {2}100 %/);
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

hubTest("push: a method of one's own by the name of its file alone", async (hub, cache) => {
  const own = join(import.meta.dirname!, "../models/own");
  const file = join(own, "pause.ts");
  const { path, config } = await saveRun(cache, join(own, "pause.yaml"));
  assert.equal(config.model.target as string, file);
  await pushCheckpoint({ path, repo: "me/tiny" }, hub.options(cache, TOKEN));
  const files = committed(hub);
  assert.deepEqual(Object.keys(files).sort(), [
    ...["README.md", "config.yaml", "model.safetensors", "state.json"],
  ]);
  for (const [name, text] of Object.entries(files)) {
    for (const secret of [own, "tests/models", "/secret"]) {
      assert.ok(!text.includes(secret), `${secret} in ${name}: ${text}`);
    }
  }
  assert.match(files["config.yaml"], /\n {2}target: pause\.ts\n/);
  const card = files["README.md"];
  assert.match(card, /\n\.\/denow task test --ckpt=tiny model\.target=FILE\n/);
  assert.match(card, /\nThe method is its author's own: its file, `pause\.ts`, is not included\. /);
  assert.match(card, /\n {2}--model=pause\.yaml \\\n/);

  const choice = namedFiles("model.safetensors", "state.json");
  const { folder } = await hubSnapshot(parseHubId("me/tiny", "model")!, choice, hub.options(cache));
  const { config: copy } = await loadCheckpoint(folder);
  const yaml = files["config.yaml"];
  const message =
    `'${folder}' is of a method whose file, 'pause.ts', is not in the current folder or the project's; ` +
    "run from the folder in which it was named, or add model.target=FILE (its code is run: read a " +
    "stranger's first)";
  for (const saved of [copy, yaml]) {
    await assert.rejects(restoreConfig(saved, [], folder), { name: "RangeError", message });
    for (const key of ["model.target", "target"]) {
      const restored = await restoreConfig(saved, [`${key}=${file}`, "num_pauses=3"], folder);
      const { model_kwargs, target } = restored.config.model;
      assert.equal(target as string, file);
      const expected = { ...config.model.model_kwargs, model_id: "my-model" };
      assert.deepEqual(model_kwargs, {
        ...expected,
        pause_config: { num_pauses: 3, answer_weight: 1 },
      });
    }
  }
  await assert.rejects(restoreConfig(copy, ["model.target=no/where.ts"], folder), {
    message: message.replace("pause.ts", "no/where.ts"),
  });
  // Code that lies in the copy is not run, whoever names it.
  const brought = join(folder, "pause.ts");
  await Deno.writeTextFile(brought, 'throw new Error("this ran");');
  await assert.rejects(restoreConfig(copy, [`model.target=${brought}`], folder), {
    name: "RangeError",
    message:
      `'${folder}' names '${brought}', a file that came with it, as model.target, and that is not ` +
      "run; read the file, and move it out of the folder if you trust it",
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
