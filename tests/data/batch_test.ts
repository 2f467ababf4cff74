/** Order of training rows: complete epochs, seeds, resuming anywhere, refusals. */
import assert from "node:assert/strict";
import { BatchStream, epochOrder, inOrder } from "../../data/batch.ts";

Deno.test("batch: every epoch shows every row once, the last batch holds what is left", () => {
  const stream = new BatchStream({ numRows: 10, batchSize: 4, seed: 3 });
  assert.equal(stream.batchesPerEpoch, 3);
  const epochs = [0, 1].map((epoch) => {
    const batches = [0, 1, 2].map(() => stream.next());
    assert.deepEqual(batches.map((batch) => batch.rows.length), [4, 4, 2]);
    assert.deepEqual(batches.map((batch) => batch.isLast), [false, false, true]);
    assert.ok(batches.every((batch) => batch.epoch === epoch));
    return batches.flatMap((batch) => [...batch.rows]);
  });
  for (const rows of epochs) {
    assert.deepEqual(rows.toSorted((a, b) => a - b), [...Array(10).keys()]);
  }
  assert.notDeepEqual(epochs[0], epochs[1]);
  assert.deepEqual(stream.position, { epoch: 2, index: 0 });
});

Deno.test("batch: the order is fixed by seed and epoch, whatever the batch size", () => {
  // Pins the shuffle: a change would silently change every run.
  assert.deepEqual([...epochOrder(8, 0, 0)], [1, 6, 5, 4, 0, 2, 7, 3]);
  assert.notDeepEqual(epochOrder(50, 0, 0), epochOrder(50, 1, 0));
  assert.notDeepEqual(epochOrder(50, 0, 1), epochOrder(50, 1, 0));
  const read = (batchSize: number) => {
    const stream = new BatchStream({ numRows: 12, batchSize, seed: 5 });
    return Array.from({ length: 24 / batchSize }, () => [...stream.next().rows]).flat();
  };
  assert.deepEqual(read(3), read(4));
});

Deno.test("batch: all orders are equally likely", () => {
  const seen = new Map<string, number>();
  for (let epoch = 0; epoch < 6000; epoch++) {
    const order = epochOrder(3, 11, epoch).join("");
    seen.set(order, (seen.get(order) ?? 0) + 1);
  }
  assert.equal(seen.size, 6);
  // Five standard deviations of 6,000 draws at 1/6.
  for (const count of seen.values()) assert.ok(Math.abs(count - 1000) < 145, String(count));
});

Deno.test("batch: a stream made at any position goes on exactly", () => {
  const options = { numRows: 11, batchSize: 4, seed: 9 };
  for (let stop = 0; stop < 7; stop++) {
    const whole = new BatchStream(options);
    for (let i = 0; i < stop; i++) whole.next();
    const position = JSON.parse(JSON.stringify(whole.position));
    const resumed = new BatchStream({ ...options, position });
    for (let i = 0; i < 5; i++) assert.deepEqual(resumed.next(), whole.next());
    assert.deepEqual(resumed.position, whole.position);
  }
  const end = new BatchStream({ ...options, position: { epoch: 2, index: 11 } });
  assert.deepEqual(end.position, { epoch: 3, index: 0 });
});

Deno.test("batch: one row, a batch larger than the data, rows in order", () => {
  const one = new BatchStream({ numRows: 1, batchSize: 16, seed: 0 });
  assert.deepEqual([...one.next().rows], [0]);
  assert.equal(one.next().epoch, 1);
  assert.deepEqual(inOrder(5, 2).map((rows) => [...rows]), [[0, 1], [2, 3], [4]]);
  assert.deepEqual(inOrder(0, 2), []);
});

Deno.test("batch: refusals", () => {
  const options = { numRows: 10, batchSize: 4, seed: 3 };
  const refused: readonly [change: object, message: string][] = [
    [{ numRows: 0 }, "number of rows must be an integer from 1, got 0"],
    [{ batchSize: 0 }, "batch_size must be an integer from 1, got 0"],
    [{ batchSize: 1.5 }, "batch_size must be an integer from 1, got 1.5"],
    [{ seed: -1 }, "seed must be an integer from 0, got -1"],
    [
      { position: { epoch: -1, index: 0 } },
      "data position's epoch must be an integer from 0, got -1",
    ],
    [
      { position: { epoch: 0, index: 11 } },
      "data position's index must be at most 10, the number of rows, got 11; " +
      "the run was saved with other data",
    ],
  ];
  for (const [change, message] of refused) {
    assert.throws(() => new BatchStream({ ...options, ...change }), {
      name: "RangeError",
      message,
    });
  }
  assert.throws(() => inOrder(3, 0), {
    message: "val_batch_size must be an integer from 1, got 0",
  });
});
