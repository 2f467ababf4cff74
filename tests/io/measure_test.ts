/** Measuring: turns, repeats and budgets are as asked, speeds follow from times, profiles count a step's dispatches. */
import assert from "node:assert/strict";
import { loadLoop, measure, profileSteps, references } from "../../io/measure.ts";
import { multiplyAdds } from "../../ops/ceiling.ts";
import { gpuTest } from "../check_op.ts";

gpuTest("measure: workloads take turns, and what is prepared is not timed", async (gpu) => {
  using scope = gpu.scope();
  const out = scope.zeros([64]);
  const log: string[] = [];
  const workload = (name: string, whole: boolean) => ({
    name,
    flops: 100,
    whole,
    maxRepeats: 2,
    prepare: () => {
      log.push(`${name} ready`);
      return () => {
        log.push(name);
        multiplyAdds(gpu, out, 1);
      };
    },
  });
  const options = { rounds: 2, roundMs: 1e9 };
  const timings = await measure(gpu, [workload("a", false), workload("b", true)], options);
  const turn = ["a ready", "a ready", "a", "a", "b ready", "b ready", "b", "b"];
  assert.deepEqual(log.slice(-16), [...turn, ...turn]);
  for (const { name, ms, medianMs, rounds, repeats, gflops, gigabytes } of timings) {
    assert.deepEqual([rounds, repeats, gigabytes], [2, 2, undefined], name);
    assert.ok(ms > 0 && medianMs >= ms && ms < 60_000, name);
    assert.equal(gflops, 100 / ms / 1e6);
  }
});

gpuTest("measure: one round runs whatever the budget", async (gpu) => {
  const [timing] = await measure(gpu, [{ name: "", prepare: () => () => {} }], { budgetMs: 0 });
  assert.equal(timing.rounds, 1);
});

gpuTest("measure: the references' speeds are possible", async (gpu) => {
  using scope = gpu.scope();
  const memory = loadLoop(gpu, scope, 1 << 20);
  const timings = await measure(gpu, [...references(gpu, scope), memory], { rounds: 1 });
  const [ceiling, loads, megabyte] = timings;
  assert.equal(megabyte.name, "load loop, 1 MiB");
  assert.ok(ceiling.gflops! > 1 && ceiling.gflops! < 1e6, `${ceiling.gflops}`);
  for (const { name, gigabytes } of [loads, megabyte]) {
    assert.ok(gigabytes! > 0.05 && gigabytes! < 1e5, `${name}: ${gigabytes}`);
  }
});

gpuTest("measure: a profile counts the dispatches of a step", async (gpu) => {
  using scope = gpu.scope();
  const out = scope.zeros([64]);
  const profile = await profileSteps(gpu, () => {
    for (let i = 0; i < 3; i++) multiplyAdds(gpu, out, 100);
  }, 2);
  if (!profile) return console.log("skipped: this adapter has no timestamps");
  assert.equal(profile.numDispatches, 3);
  assert.deepEqual(profile.kernels.map(({ path, calls }) => [path, calls]), [
    ["kernels/bench_multiply_add.wgsl", 6],
  ]);
  assert.ok(profile.ms > 0 && profile.busy > 0 && profile.busy < 1.5, JSON.stringify(profile));
});
