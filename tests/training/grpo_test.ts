/** The algorithm of reinforcement on a toy: rewards, advantages, minibatches, and that it learns. */
import assert from "node:assert/strict";
import { AdamW } from "../../training/adamw.ts";
import {
  type Experience,
  groupAdvantages,
  logProbsAsDrawn,
  minibatchOrder,
  rewardOf,
  update,
} from "../../training/grpo.ts";
import { GrpoStep, sampleGroups } from "../../training/grpo_step.ts";
import { meanLosses } from "../../training/supervised_step.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { toyPolicy } from "./toy_policy.ts";

const RL = {
  n_train_samples_per_epoch: 4,
  resample_each_epoch: true,
  filter_dataset: false,
  group_size: 8,
  random_speed_in_group: false,
  punish_latent_length: false,
  zero_equal_advantage: true,
  exp_batch_size: 8,
  clip_eps: 0.2,
  clip_grad_norm: 1,
  use_latent_loss: false,
  use_answer_loss: true,
  average_per_token_loss: true,
  latent_logprob: "mean",
  continue_decisions: false,
} as const;

/** Questions whose answer is 3. */
const rows = ["a", "b", "c"].map((question) => ({ question, steps: [], answer: "3" }));
const batch = { rows, numbers: [4, 5, 6] };
const config = { seed: 0, dataloader: { batch_size: 3, val_batch_size: 100 } };

Deno.test("grpo: a right answer is worth 1, or less for more latents", () => {
  assert.deepEqual([rewardOf(true, 4, false), rewardOf(false, 4, true), rewardOf(true, 4, true)], [
    ...[1, 0, 0.25],
  ]);
});

Deno.test("grpo: advantages are within groups, with ddof 1", () => {
  const found = groupAdvantages([1, 0, 0, 1, 1, 1, 0, 1], 4, true);
  const half = Math.sqrt(3) / 2;
  assertClose(found, [half, -half, -half, half, 0.5, 0.5, -1.5, 0.5], 1e-6, "advantages");
  for (const zeroEqual of [true, false]) {
    assert.deepEqual(groupAdvantages([0, 0, 0], 3, zeroEqual), [0, 0, 0]);
  }
  const third = Array<number>(8).fill(1 / 3);
  assert.deepEqual(groupAdvantages(third, 8, true), third.map(() => 0));
  assert.ok(groupAdvantages(third, 8, false).every((x) => Math.abs(x) > 0.7), "B22");
  assert.throws(() => groupAdvantages([1, 0], 1, true), {
    name: "RangeError",
    message:
      "group_size must be an integer from 2 that divides 2 samples, got 1: an advantage is " +
      "over the others of a group",
  });
  assert.throws(() => groupAdvantages([1, 0, 1], 2, true), /divides 3 samples, got 2/);
});

Deno.test("grpo: minibatches hold every sample once, shuffled by seed and step", () => {
  const order = minibatchOrder(10, 4, 1, 2);
  assert.deepEqual(order.map(({ length }) => length), [4, 4, 2]);
  assert.deepEqual(order.flat().toSorted((a, b) => a - b), Array.from({ length: 10 }, (_, i) => i));
  assert.deepEqual(minibatchOrder(10, 4, 1, 2), order);
  assert.notDeepEqual(minibatchOrder(10, 4, 1, 3), order);
  assert.notDeepEqual(minibatchOrder(10, 4, 2, 2), order);
});

gpuTest("grpo: samples without advantage are left out and change nothing", async (gpu) => {
  const results: { values: number[]; weight: Float32Array }[] = [];
  for (const small of [0, 1e-30]) { // 0 is left out, 1e-30 is computed
    using toy = toyPolicy(gpu);
    using optimizer = new AdamW(gpu, toy.parameters, { lr: 0.1 });
    const rollouts = await toy.policy.rollout(["a", "b", "c", "d"], {
      seed: 2,
      sampleIds: [0, 1, 2, 3],
    });
    const experience: Experience = {
      rollouts,
      advantages: [1, small, -0.5, small],
      old: rollouts.map(({ logProbs }) => logProbs!),
    };
    const options = { clip_eps: 0.2, average_per_token_loss: true, clip_grad_norm: 1, lr: 0.1 };
    const done = update(gpu, toy.policy, optimizer, experience, [3, 0, 1, 2], options);
    assert.deepEqual(done.names, ["loss", "answer_loss"]);
    assert.equal(done.numTokens, small === 0 ? 2 : 4);
    const losses = await meanLosses(done.names, [done.losses]);
    const [norm] = await done.norm.data();
    results.push({
      values: [losses.loss, losses.answer_loss, norm],
      weight: await gpu.read(toy.parameters[0].tensor),
    });
    // A minibatch in which nothing has an advantage still is an optimizer step.
    const zero = { ...experience, advantages: [0, 0, 0, 0] };
    const idle = update(gpu, toy.policy, optimizer, zero, [0, 1], options);
    assert.deepEqual(await meanLosses(idle.names, [idle.losses]), { loss: 0, answer_loss: 0 });
    assert.equal((await idle.norm.data())[0], 0);
    assert.equal(optimizer.numSteps, 2);
  }
  assertClose(results[0].values, results[1].values, 1e-6, "losses and norm");
  assertClose(results[0].weight, results[1].weight, 1e-6, "weights");
});

gpuTest(
  "grpo: old log-probabilities that a rollout did not keep are computed anew",
  async (gpu) => {
    const draw = { seed: 2, sampleIds: [0, 1, 2, 3, 4] };
    using keeping = toyPolicy(gpu);
    using forgetful = toyPolicy(gpu, false);
    const questions = ["a", "b", "c", "d", "e"];
    const kept = await keeping.policy.rollout(questions, draw);
    const bare = await forgetful.policy.rollout(questions, draw);
    const mixed = kept.map((rollout, i) => i % 2 ? rollout : bare[i]);
    const old = await logProbsAsDrawn(gpu, forgetful.policy, mixed, 2);
    old.forEach(({ answer }, i) =>
      assertClose(answer, kept[i].logProbs!.answer, 1e-6, `sample ${i}`)
    );
  },
);

gpuTest("grpo: what is rewarded becomes probable, whoever computes the old values", async (gpu) => {
  for (const keeps of [true, false]) {
    using toy = toyPolicy(gpu, keeps);
    using optimizer = new AdamW(gpu, toy.parameters, { lr: 0.05 });
    const step = new GrpoStep({ gpu, policy: toy.policy, optimizer, config, rl: RL });
    const before = (await toy.probabilities())[3];
    const logged: Readonly<Record<string, number>>[] = [];
    for (let i = 0; i < 30; i++) {
      const place = { step: i, batch: i, epoch: 0, progress: i / 30, lr: 0.05 };
      const { values, tokens } = await step.run([batch], place);
      logged.push({ ...await values(), tokens });
    }
    const after = (await toy.probabilities())[3];
    assert.ok(before < 0.3 && after > 0.8, `${before} became ${after}`);
    assert.deepEqual(Object.keys(logged[0]), [
      ...["loss", "answer_loss", "grad_norm", "reward", "acc", "n_latent_forward"],
      ...["output_length", "advantage_size", "groups_with_advantage", "tokens"],
    ]);
    assert.equal(optimizer.numSteps, 90);
    assert.ok(logged[29].reward > logged[0].reward);
  }
});

gpuTest(
  "grpo: with punish_latent_length of two right answers the shorter one wins",
  async (gpu) => {
    using toy = toyPolicy(gpu);
    using optimizer = new AdamW(gpu, toy.parameters, { lr: 0.05 });
    const rl = { ...RL, punish_latent_length: true };
    // Tokens 1 and 6 are right; their #L is 2 and 7.
    const isRight = (_: unknown, { answer: { ids } }: { answer: { ids: readonly number[] } }) =>
      ids[0] === 1 || ids[0] === 6;
    const step = new GrpoStep({ gpu, policy: toy.policy, optimizer, config, rl, isRight });
    const before = await toy.probabilities();
    for (let i = 0; i < 40; i++) {
      await step.run([batch], { step: i, batch: i, epoch: 0, progress: 0, lr: 0.05 });
    }
    const after = await toy.probabilities();
    assert.ok(after[1] > 0.7 && after[6] < 0.2, `${before} became ${after}`);
  },
);

gpuTest(
  "grpo: groups are scored as validation scores, in rollouts of whole groups",
  async (gpu) => {
    using toy = toyPolicy(gpu);
    const sizes: number[] = [];
    const policy = {
      ...toy.policy,
      rollout: (...args: Parameters<typeof toy.policy.rollout>) => {
        sizes.push(args[0].length);
        return toy.policy.rollout(...args);
      },
    };
    const all = await sampleGroups({ policy, config, rl: RL }, batch, 100);
    const small = { ...config, dataloader: { batch_size: 3, val_batch_size: 17 } };
    assert.deepEqual(await sampleGroups({ policy, config: small, rl: RL }, batch, 100), all);
    const tiny = { ...config, dataloader: { batch_size: 3, val_batch_size: 1 } };
    assert.deepEqual(await sampleGroups({ policy, config: tiny, rl: RL }, batch, 100), all);
    assert.deepEqual(sizes, [24, 16, 8, 8, 8, 8]);
    for (const { rollout, isRight } of all) assert.equal(isRight, rollout.answer.ids[0] === 3);
    assert.notDeepEqual(await sampleGroups({ policy, config, rl: RL }, batch, 124), all);
    const signal = AbortSignal.abort(new Error("stop"));
    await assert.rejects(sampleGroups({ policy, config, rl: RL, signal }, batch, 0), /stop/);
  },
);
