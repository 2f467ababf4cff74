/** A device that only counts: memory as a real one gives it out, and no work. */
import assert from "node:assert/strict";
import { planningDevice } from "../../gpu/planning_device.ts";
import { gpuTest } from "../check_op.ts";

gpuTest("planningDevice(): buffers are taken, given back and taken again", async (device) => {
  const { gpu, largestBuffer } = planningDevice(device);
  assert.deepEqual([gpu.limits, gpu.isSoftware], [device.limits, device.isSoftware]);
  {
    using scope = gpu.scope();
    const x = scope.zeros([100, 10]);
    gpu.copy(x, scope.empty([1000]));
    assert.deepEqual(gpu.pool.memory, { allocated: 8192, inUse: 8192, peak: 8192 });
  }
  assert.equal(gpu.pool.memory.inUse, 0);
  using scope = gpu.scope();
  scope.empty([1000]);
  assert.equal(gpu.pool.memory.allocated, 8192);
  // A write would come before what the encoder has done with that buffer: as on a real device it takes another.
  scope.upload(new Float32Array(1000));
  assert.equal(gpu.pool.memory.allocated, 8192 + 4096);
  const { allocated } = gpu.pool.memory;
  const floats = Math.floor(device.limits.maxBufferSize / 16) * 4 - 4;
  scope.empty([floats]); // of the largest buffer, not of the class above it: as on a real device
  assert.ok(gpu.pool.memory.allocated - allocated <= device.limits.maxBufferSize);
  assert.equal(largestBuffer(), 4 * floats, "what was asked for, not its class");
  scope.empty([2 ** 40]); // larger than any device's: a plan is to say so
  assert.equal(largestBuffer(), 2 ** 42);
  gpu.submit();
  await gpu.finish();
});

gpuTest(
  "planningDevice(): a tensor whose scope has ended is refused, as on a real one",
  (device) => {
    const { gpu } = planningDevice(device);
    const scope = gpu.scope();
    const x = scope.empty([4]);
    scope[Symbol.dispose]();
    assert.throws(() => gpu.clear(x), /its scope has ended/);
    return Promise.resolve();
  },
);
