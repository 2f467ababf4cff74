/** The length of a run and its learning rates. */
import assert from "node:assert/strict";
import { learningRate, runLength, type Schedule } from "../../training/schedule.ts";
import { fakeConfig } from "./fake_method.ts";

const cases: [Partial<Schedule>, number[]][] = [
  [{}, [1, 1, 1, 1, 1, 1]],
  [{ warmupSteps: 2 }, [0, 0.5, 1, 1, 1, 1]],
  [{ schedule: "linear" }, [1, 0.75, 0.5, 0.25, 0, 0]],
  [{ schedule: "linear", warmupSteps: 2 }, [0, 0.5, 1, 0.5, 0, 0]],
  // Half a cosine: cos of 0, 45, 90, 135 and 180 degrees.
  [{ schedule: "cosine" }, [1, 0.5 + Math.SQRT2 / 4, 0.5, 0.5 - Math.SQRT2 / 4, 0, 0]],
  [{ schedule: "cosine", warmupSteps: 4 }, [0, 0.25, 0.5, 0.75, 1, 0]],
];
for (const [change, factors] of cases) {
  Deno.test(`learning rate: ${JSON.stringify(change)} over four steps`, () => {
    const base = { lr: 2, schedule: "constant", warmupSteps: 0, numSteps: 4 } as const;
    factors.forEach((factor, step) => {
      const rate = learningRate(step, { ...base, ...change });
      assert.ok(Math.abs(rate - 2 * factor) < 1e-12, `step ${step}: ${rate}`);
    });
  });
}

const lengths: [string[], number, { batchesPerEpoch: number; numSteps: number }][] = [
  [[], 18, { batchesPerEpoch: 5, numSteps: 15 }],
  [["max_steps=7"], 18, { batchesPerEpoch: 5, numSteps: 7 }],
  [["max_steps=700"], 18, { batchesPerEpoch: 5, numSteps: 15 }],
  [["accumulate_grad_batches=2"], 18, { batchesPerEpoch: 5, numSteps: 9 }],
  // Three passes are six epochs of half a pass.
  [["epoch_scaling=0.5"], 16, { batchesPerEpoch: 2, numSteps: 12 }],
  [["epoch_scaling=0.1"], 12000, { batchesPerEpoch: 300, numSteps: 9000 }],
];
for (const [change, numRows, expected] of lengths) {
  Deno.test(`run length: ${change.join() || "three passes"} over ${numRows} rows`, async () => {
    assert.deepEqual(runLength(await fakeConfig(...change), numRows), expected);
  });
}
