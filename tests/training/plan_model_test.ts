/** The doctor's plan: from a model's name to bytes by use. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { planModel } from "../../training/plan_model.ts";
import { gpuTest } from "../check_op.ts";
import { COMMIT, withHub } from "../io/hub_server.ts";
import { captured } from "./tiny_model.ts";
import { main } from "../../main.ts";

gpuTest("planModel(): bytes by use of the embedded model", async (gpu) => {
  const request = { model_id: "assets/nano", workspace: "." };
  const { uses, ...facts } = await planModel(gpu, { ...request, batchSize: "4", length: "32" });
  assert.deepEqual([facts.batchSize, facts.length, facts.model], [4, 32, "assets/nano"]);
  assert.equal(facts.maxBufferSize, gpu.limits.maxBufferSize);
  assert.deepEqual(Object.keys(uses), [
    "weights",
    "training, LoRA of rank 128",
    "training, LoRA, activation_checkpointing",
    "training, all",
    "training, all, activation_checkpointing",
    "generation",
  ]);
  for (const { bytes, largestBuffer, largestTensor } of Object.values(uses)) {
    assert.ok(bytes >= uses.weights.bytes && bytes < 2 ** 30);
    assert.ok(largestBuffer >= largestTensor && largestBuffer < bytes);
  }
  const twice = await planModel(gpu, { ...request, batchSize: "8", length: "32" });
  assert.deepEqual(twice.uses.weights, uses.weights);
  assert.ok(twice.uses["training, all"].bytes > uses["training, all"].bytes);
  for (const [key, value] of [["batchSize", "0"], ["length", "2.5"]]) {
    await assert.rejects(planModel(gpu, { ...request, [key]: value }), /must be an integer from 1/);
  }
  await assert.rejects(planModel(gpu, { ...request, model_id: "nowhere" }), /no folder 'nowhere'/);
});

gpuTest("planModel(): a model of the Hub is planned as its folder is, unfetched", async (gpu) => {
  const net = await Deno.permissions.query({ name: "net", host: "127.0.0.1" });
  if (net.state !== "granted") return console.log("skipped, needs --allow-net=127.0.0.1");
  await withHub(async (hub, cache) => {
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    for await (const { name } of Deno.readDir("assets/nano")) {
      files.set(name, await Deno.readFile(join("assets/nano", name)));
    }
    hub.repos.set("models/owner/nano", { commit: COMMIT, files });
    const request = { workspace: cache, batchSize: "4", length: "32" };
    const expected = await planModel(gpu, { ...request, model_id: "assets/nano" });
    const plan = await planModel(gpu, { ...request, model_id: "owner/nano" }, hub.options(cache));
    assert.deepEqual({ ...plan, available: 0 }, { ...expected, available: 0, model: "owner/nano" });
    const fetched = hub.asked.filter(({ path }) => path.includes("/resolve/"));
    const ends = fetched.map(({ path, range }) => [path.split("/").at(-1), range?.split("-")[0]]);
    assert.deepEqual(ends, [
      ["config.json", undefined],
      ["model.safetensors", "bytes=0"],
      ["model.safetensors", "bytes=8"],
    ]);
  });
});

gpuTest("main.ts doctor --model_id: the plan, as text and as JSON", async () => {
  const args = ["doctor", "--model_id=assets/nano", "--batch_size=2"];
  const { result, out, errors } = await captured(() => main(args));
  assert.deepEqual([result, errors], [0, ""]);
  assert.match(out, /^Memory {5}assets\/nano, 2 rows of 256 tokens; available: /);
  const { out: json } = await captured(() => main([...args, "--json"]));
  assert.equal(JSON.parse(json).batchSize, 2);
});
