/** What is free for a model, and models that do not fit: told before anything is loaded. */
import assert from "node:assert/strict";
import { availableMemory, checkFits, gibibytes } from "../../io/device_memory.ts";
import { loadModel } from "../../io/load_model.ts";
import { onCard } from "../card.ts";
import { gpuTest } from "../check_op.ts";

const info = (description: string) => ({
  info: {
    ...{ vendor: "", architecture: "", device: "", description },
    ...{ subgroupSize: 0, features: [] },
  },
});
const limits = {
  maxBufferSize: 2 ** 31,
  maxBinding: 2 ** 27,
  storageAlignment: 256,
  uniformAlignment: 256,
  maxWorkgroups: 65535,
};
const GIB = 2 ** 30;

Deno.test("availableMemory(): a card's by COLAR_GPU_MEMORY, this machine's for software", () => {
  const card = info("NVIDIA H100");
  const known = { card: "1536", machine: 7 };
  assert.deepEqual(availableMemory(card, known), { bytes: 1.5 * GIB, origin: "COLAR_GPU_MEMORY" });
  for (const nonsense of [undefined, "", "much", "-1"]) {
    assert.equal(availableMemory(card, { card: nonsense, machine: 7 }), undefined);
  }
  const software = info("llvmpipe (LLVM 15)");
  assert.deepEqual(availableMemory(software, known), { bytes: 7, origin: "free in this machine" });
  assert.equal(availableMemory(software, { card: "9", machine: undefined }), undefined);
});

Deno.test({
  name: "availableMemory(): unknown where it may not be asked",
  permissions: "none",
  fn: () => {
    assert.equal(availableMemory(info("NVIDIA H100")), undefined);
    assert.equal(availableMemory(info("llvmpipe")), undefined);
  },
});

Deno.test("checkFits(): what is needed and what there is, in one line", () => {
  const available = { bytes: 2 * GIB, origin: "COLAR_GPU_MEMORY" };
  checkFits("m", [GIB, GIB], limits, available);
  checkFits("m", [2 * GIB, 2 * GIB], limits, undefined);
  assert.throws(() => checkFits("m", [GIB, GIB, 2 ** 28], limits, available), {
    name: "RangeError",
    message:
      "m: its weights take 2.25 GiB on the device, 2.00 GiB are available (COLAR_GPU_MEMORY); " +
      "use a smaller model, or ./denow task doctor --model_id=... for a plan",
  });
  assert.throws(() => checkFits("m", [3 * GIB], limits, undefined), {
    name: "RangeError",
    message:
      "m: its largest tensor takes 3.00 GiB on the device, whose largest buffer is 2.00 GiB; " +
      "use a smaller model, or 16-bit weights with do_lora=True",
  });
  // Sizes that read the same in GiB; and what fits the largest buffer, though its size class would not.
  const largest = 2 ** 31 - 1;
  checkFits("m", [128256 * 4096 * 4], { ...limits, maxBufferSize: largest }, undefined);
  assert.throws(
    () => checkFits("m", [2 ** 31], { ...limits, maxBufferSize: largest }, undefined),
    /its largest tensor takes 2147483648 bytes on the device, whose largest buffer is 2147483647 b/,
  );
  assert.equal(gibibytes(1.5 * GIB), "1.50 GiB");
});

gpuTest("loadModel() refuses a model that does not fit, before any upload", async (gpu) => {
  const folder = new URL("../golden/llama_untied_bf16", import.meta.url).pathname;
  const small = Object.create(gpu, {
    limits: { value: { ...gpu.limits, maxBufferSize: 1000 } },
    pool: { get: () => assert.fail("something was uploaded") },
  });
  await assert.rejects(
    loadModel(small, folder),
    /its largest tensor takes \d+ bytes on the device, whose largest buffer is 1000 bytes/,
  );
});

gpuTest("loadModel() compares the weights with what is free on the card", async (gpu) => {
  const folder = new URL("../golden/llama_untied_bf16", import.meta.url).pathname;
  const { byteLength } = (await loadModel(gpu, folder)).weights;
  await onCard(gpu, (byteLength - 1) / 2 ** 20, async (card) => {
    await assert.rejects(loadModel(card, folder), {
      name: "RangeError",
      message: `${folder}: its weights take ${byteLength} bytes on the device, ` +
        `${byteLength - 1} bytes are available (COLAR_GPU_MEMORY); use a smaller model, or ` +
        "./denow task doctor --model_id=... for a plan",
    });
  });
  await onCard(gpu, byteLength / 2 ** 20, async (card) => {
    assert.equal((await loadModel(card, folder)).weights.byteLength, byteLength);
  });
});
