/** The file of latents, read back: offsets, shapes, numbers, metadata. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileSource, loadSafetensors, openSafetensors } from "../../io/safetensors.ts";
import { checkLatentsFile, saveLatents } from "../../io/save_latents.ts";

Deno.test("save_latents: questions of several lengths, laid end to end", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "latents.safetensors");
    const question = (begin: number, reasoningLength: number) => ({
      reasoningLength,
      trace: {
        latents: Float32Array.from({ length: 2 * reasoningLength }, (_, i) => begin + i / 8),
        stop_log_prob: Float32Array.from({ length: reasoningLength }, (_, i) => -begin - i),
      },
    });
    const greedy = [question(1, 3), question(2, 1), question(3, 2)];
    await saveLatents(path, { greedy, drawn: [question(4, 1)] }, { speed: "5", seed: "0" });
    const read = await loadSafetensors(path);
    assert.deepEqual([...read.keys()].sort(), [
      ...["drawn.latents", "drawn.offsets", "drawn.stop_log_prob"],
      ...["greedy.latents", "greedy.offsets", "greedy.stop_log_prob"],
    ]);
    assert.deepEqual(read.get("greedy.offsets"), {
      ...{ dtype: "I64", shape: [4], data: Int32Array.of(0, 3, 4, 6) },
    });
    assert.deepEqual(read.get("greedy.latents"), {
      ...{ dtype: "F32", shape: [6, 2] },
      data: Float32Array.from(greedy.flatMap(({ trace }) => [...trace.latents])),
    });
    assert.deepEqual(read.get("greedy.stop_log_prob")!.shape, [6]);
    assert.deepEqual(read.get("drawn.latents")!.data, Float32Array.of(4, 4.125));
    using source = await fileSource(path);
    const { metadata } = await openSafetensors(source);
    assert.deepEqual([...metadata], [["seed", "0"], ["speed", "5"]]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("save_latents: a folder that is not there is told before the work", async () => {
  await checkLatentsFile("latents.safetensors");
  await assert.rejects(checkLatentsFile("nowhere/latents.safetensors"), {
    name: "RangeError",
    message: "--save_latents=nowhere/latents.safetensors: no folder nowhere; make it first",
  });
});
