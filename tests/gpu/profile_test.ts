/** The profile: every dispatch counted under its kernel's path, with a plausible time. */
import assert from "node:assert/strict";
import { kernel } from "../../gpu/kernel.ts";
import type { KernelTime } from "../../gpu/profile.ts";
import { gpuTest } from "../check_op.ts";

const source = (loops: string) =>
  `struct Params { rounds: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  var sum = x[id.x];
  for (var i = 0u; i < ${loops}; i++) { sum = sum * 1.0001 + 0.5; }
  x[id.x] = sum;
}`;
const slow = kernel("kernels/slow.wgsl", source("params.rounds"));
const quick = kernel("kernels/quick.wgsl", source("min(params.rounds, 1u)"));

function calls(times: KernelTime[]): Record<string, number> {
  return Object.fromEntries(times.map((t) => [t.path, t.calls]));
}

gpuTest("profile: times by kernel, longest first, over several submits", async (gpu) => {
  if (!gpu.info.features.includes("timestamp-query")) {
    assert.throws(() => gpu.profile.start(), /this adapter has no timestamp-query/);
    return console.log("skipped: this adapter has no timestamps");
  }
  using scope = gpu.scope();
  const x = scope.zeros([6400]);
  const step = () => {
    gpu.run(slow, { x }, { rounds: 20_000 }, 100);
    for (let i = 0; i < 3; i++) gpu.run(quick, { x }, { rounds: 1 }, 1);
    gpu.clear(x);
    gpu.run(quick, { x }, { rounds: 1 }, 0); // records nothing, counts nothing
  };
  gpu.run(quick, { x }, { rounds: 1 }, 1); // leaves a pass open in which the profile begins
  gpu.profile.start();
  step();
  await gpu.finish();
  step();
  await gpu.finish();
  const times = await gpu.profile.stop();
  assert.deepEqual(calls(times), { "kernels/slow.wgsl": 2, "kernels/quick.wgsl": 6 });
  assert.equal(times[0].path, "kernels/slow.wgsl");
  assert.ok(times.every((t) => t.ms > 0 && t.ms < 60_000), JSON.stringify(times));
  assert.ok(times[0].ms > 2 * times[1].ms, JSON.stringify(times));

  step();
  await gpu.finish();
  assert.deepEqual(await gpu.profile.stop(), times, "nothing is counted while it does not run");
  gpu.profile.start();
  gpu.run(quick, { x }, { rounds: 1 }, 1);
  gpu.submit();
  assert.deepEqual(calls(await gpu.profile.stop()), { "kernels/quick.wgsl": 1 });
});

gpuTest("profile: counts more dispatches than one query set holds", async (gpu) => {
  if (!gpu.info.features.includes("timestamp-query")) return console.log("skipped: no timestamps");
  using scope = gpu.scope();
  const x = scope.zeros([64]);
  gpu.profile.start();
  for (let i = 0; i < 5000; i++) gpu.run(quick, { x }, { rounds: 1 }, 1);
  gpu.submit();
  assert.deepEqual(calls(await gpu.profile.stop()), { "kernels/quick.wgsl": 5000 });
});
