/** The doctor's plan: from a model's name to bytes by use. */
import assert from "node:assert/strict";
import { planModel } from "../../training/plan_model.ts";
import { gpuTest } from "../check_op.ts";
import { captured } from "./tiny_model.ts";
import { main } from "../../main.ts";

gpuTest("planModel(): bytes by use of the embedded model", async (gpu) => {
  const request = { model_id: "assets/nano", workspace: "." };
  const { bytes, ...facts } = await planModel(gpu, { ...request, batchSize: "4", length: "32" });
  assert.deepEqual([facts.batchSize, facts.length, facts.model], [4, 32, "assets/nano"]);
  assert.equal(facts.maxBufferSize, gpu.limits.maxBufferSize);
  assert.deepEqual(Object.keys(bytes), [
    "weights",
    "training, LoRA of rank 128",
    "training, LoRA, activation_checkpointing",
    "training, all",
    "training, all, activation_checkpointing",
    "generation",
  ]);
  assert.ok(Object.values(bytes).every((n) => n >= bytes.weights && n < 2 ** 30));
  const twice = await planModel(gpu, { ...request, batchSize: "8", length: "32" });
  assert.equal(twice.bytes.weights, bytes.weights);
  assert.ok(twice.bytes["training, all"] > bytes["training, all"]);
  for (const [key, value] of [["batchSize", "0"], ["length", "2.5"]]) {
    await assert.rejects(planModel(gpu, { ...request, [key]: value }), /must be an integer from 1/);
  }
  await assert.rejects(planModel(gpu, { ...request, model_id: "nowhere" }), /no folder 'nowhere'/);
});

gpuTest("main.ts doctor --model_id: the plan, as text and as JSON", async () => {
  const args = ["doctor", "--model_id=assets/nano", "--batch_size=2"];
  const { result, out, errors } = await captured(() => main(args));
  assert.deepEqual([result, errors], [0, ""]);
  assert.match(out, /^Memory {5}assets\/nano, 2 rows of 256 tokens; available: /);
  const { out: json } = await captured(() => main([...args, "--json"]));
  assert.equal(JSON.parse(json).batchSize, 2);
});
