/** Where models are found. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { resolveConfig } from "../../io/config.ts";
import { findModel, locateModel, pinModel } from "../../training/build.ts";
import { COMMIT, hubTest } from "../io/hub_server.ts";
import { fakeConfig } from "./fake_method.ts";

const DATA = join(import.meta.dirname!, "../golden");

Deno.test("findModel: as given, from the project's root, or below models/llms", async () => {
  const root = join(import.meta.dirname!, "../../assets/nano");
  const found = await findModel("assets/nano", "/nowhere");
  assert.equal(await Deno.realPath(found), await Deno.realPath(root));
  assert.equal(await findModel(DATA, "."), DATA);
  const workspace = await Deno.makeTempDir();
  try {
    const folder = join(workspace, "models/llms/mine");
    await Deno.mkdir(folder, { recursive: true });
    assert.equal(await findModel("mine", workspace), folder);
  } finally {
    await Deno.remove(workspace, { recursive: true });
  }
  await assert.rejects(findModel("my-model", "w"), {
    name: "RangeError",
    message:
      "model_id: no folder 'my-model', nor w/models/llms/my-model, and no id of the Hub, which is " +
      "owner/name; set model_id=OWNER/NAME (of the Hub: docs/hub.md), or model_id=FOLDER in Hub " +
      "layout (config.json, tokenizer.json, model.safetensors)",
  });
  // The default of configs/models, the published code's name of a folder: what to write is told.
  const { config } = await resolveConfig({ model: "cot", dataset: "gsm8k" });
  await assert.rejects(findModel(config.model.model_kwargs.model_id, "w"), {
    message:
      /; set model_id=meta-llama\/Llama-3\.2-1B-Instruct \(of the Hub, gated: docs\/hub\.md\), or model_id=FOLDER in/,
  });
});

hubTest(
  "pinModel: a model of the Hub is fetched, and the run keeps its commit",
  async (hub, cache) => {
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    for (
      const name of ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
    ) {
      files.set(name, await Deno.readFile(join(import.meta.dirname!, "../../assets/nano", name)));
    }
    hub.repos.set("models/owner/nano", { commit: COMMIT, files });
    const config = await fakeConfig("model_id=owner/nano");
    const pinned = await pinModel(config, "/nowhere", hub.options(cache));
    const { model_id } = pinned.config.model.model_kwargs;
    assert.equal(model_id, `owner/nano@${COMMIT}`);
    assert.deepEqual(pinned.origin, { name: "owner/nano", commit: COMMIT });
    hub.taken();
    const { folder, origin } = await locateModel(model_id, "/nowhere", hub.options(cache));
    assert.deepEqual([hub.taken(), origin], [[], pinned.origin]);
    assert.ok((await Deno.stat(join(folder, "model.safetensors"))).isFile);
    files.set("config.json", new TextEncoder().encode('{"model_type": "mistral"}'));
    hub.repos.set("models/owner/other", { commit: COMMIT, files });
    for (let i = 0; i < 2; i++) {
      await assert.rejects(locateModel("owner/other", "/nowhere", hub.options(cache)), {
        name: "TypeError",
        message: /^model owner\/other@main: config\.json: model_type "mistral" is not supported; /,
      });
      const asked = hub.taken().map((line) => String(line));
      assert.ok(!asked.some((line) => line.includes("safetensors")), asked.join());
    }
    const local = await fakeConfig();
    assert.deepEqual(await pinModel(local, "/nowhere", hub.options(cache)), {
      config: local,
      origin: undefined,
    });
  },
);
