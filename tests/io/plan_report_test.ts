/** The text of a memory plan. */
import assert from "node:assert/strict";
import { type PlanFacts, planReport } from "../../io/plan_report.ts";

const GIB = 2 ** 30;
const use = (bytes: number, largestBuffer = GIB / 2, largestTensor = GIB / 2) => ({
  bytes,
  largestBuffer,
  largestTensor,
});
const facts: PlanFacts = {
  model: "m",
  batchSize: 4,
  length: 32,
  r: 128,
  uses: {
    "weights": use(GIB),
    "training, LoRA of rank 128": use(1.5 * GIB, 2.5 * GIB),
    "training, all": use(9 * GIB, 2 ** 31, 2 ** 31),
    "generation": use(3 * GIB),
  },
  maxBufferSize: 2 ** 31 - 1,
  available: { bytes: 2 * GIB, origin: "COLAR_GPU_MEMORY" },
};

Deno.test("planReport(): each use, whether it fits, and a buffer that is too large", () => {
  assert.equal(
    planReport(facts),
    `Memory     m, 4 rows of 32 tokens; available: 2.00 GiB (COLAR_GPU_MEMORY)
                                                    all one buffer  of at most 2.00 GiB
  weights                                      1.00 GiB   0.50 GiB  fits
  training, LoRA of rank 128                   1.50 GiB   2.50 GiB  needs a buffer of 2.50 GiB, the adapter's largest is 2.00 GiB: use fewer or shorter rows
  training, all                                9.00 GiB   2.00 GiB  needs a buffer of 2147483648 bytes, the adapter's largest is 2147483647 bytes: use a smaller model, or 16-bit weights with do_lora=True
  generation                                   3.00 GiB   0.50 GiB  does not fit
  What a method trains beside the backbone comes on top, 16 bytes for each number.`,
  );
});

Deno.test("planReport(): where nobody knows what is free, nothing is said to fit", () => {
  const text = planReport({ ...facts, uses: { weights: use(GIB) }, available: undefined });
  assert.match(text, /available: unknown; set COLAR_GPU_MEMORY to the card's free MiB\n/);
  assert.doesNotMatch(text, /fit|needs/);
});

Deno.test("planReport(): an 8B model's table in f32 is no reason to change the rows", () => {
  const table = 128256 * 4096 * 4;
  const text = planReport({ ...facts, uses: { "training, all": use(GIB, table, table) } });
  assert.match(text, / 1\.00 GiB {3}1\.96 GiB {2}fits\n/);
});
