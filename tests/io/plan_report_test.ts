/** The text of a memory plan. */
import assert from "node:assert/strict";
import { type PlanFacts, planReport } from "../../io/plan_report.ts";

const GIB = 2 ** 30;
const facts: PlanFacts = {
  model: "m",
  batchSize: 4,
  length: 32,
  r: 128,
  bytes: { weights: GIB, "training, all": 3 * GIB },
  largestBuffer: 3 * GIB,
  maxBufferSize: 2 * GIB,
  available: { bytes: 2 * GIB, origin: "COLAR_GPU_MEMORY" },
};

Deno.test("planReport(): each use, whether it fits, and a buffer that is too large", () => {
  assert.equal(
    planReport(facts),
    `Memory     m, 4 rows of 32 tokens; available: 2.00 GiB (COLAR_GPU_MEMORY)
  weights                                       1.00 GiB  fits
  training, all                                 3.00 GiB  does not fit
  A buffer of 3.00 GiB is needed, the adapter's largest is 2.00 GiB: use fewer rows
  What a method trains beside the backbone comes on top, 16 bytes for each number.`,
  );
});

Deno.test("planReport(): where nobody knows what is free, nothing is said to fit", () => {
  const text = planReport({ ...facts, available: undefined, largestBuffer: 1 });
  assert.match(text, /available: unknown; set COLAR_GPU_MEMORY to the card's free MiB\n/);
  assert.doesNotMatch(text, /fit|buffer/);
});
