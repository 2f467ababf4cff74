/** Golden cases of reinforcement: rollouts, advantages, losses with gradients, and whole steps. */
import assert from "node:assert/strict";
import { Graph } from "../autograd/tape.ts";
import { SWITCHES } from "../io/config_profile.ts";
import type { Colar } from "../models/colar.ts";
import type { ColarPolicy } from "../models/colar_policy.ts";
import type { ColarRollout } from "../models/colar_rollout.ts";
import { AdamW } from "../training/adamw.ts";
import {
  type Experience,
  groupAdvantages,
  grpoLosses,
  rewardOf,
  update,
} from "../training/grpo.ts";
import { meanLosses } from "../training/supervised_step.ts";
import { GoldenCase } from "./golden_case.ts";
import { GRADIENT, LATENTS, LOG_PROBS, type MethodSet, profileOf } from "./golden_method_set.ts";

/** Sums of advantages nearly cancel, so a loss is compared absolutely. */
const ABSOLUTE = () => 1e-5;
const ADVANTAGES = { abs: 1e-5, rel: 1e-5 };

/** A rollout: what was drawn with the recorded numbers, rewards and advantages. */
export async function checkRollout(set: MethodSet): Promise<void> {
  const { golden } = set;
  const { group_size: G, punish_latent_length } = golden.json.config;
  const accuracies = golden.floats("accuracies");
  const lengths = golden.ints("n_latent_forward");
  const rewards = [...accuracies].map((acc, i) =>
    rewardOf(acc === 1, lengths[i], punish_latent_length)
  );
  golden.close(rewards, "rewards", ADVANTAGES);
  const { released, corrected } = SWITCHES.zero_equal_advantage;
  golden.close(groupAdvantages(rewards, G, released), "advantages", ADVANTAGES);
  golden.close(groupAdvantages(rewards, G, corrected), "corrected_advantages", ADVANTAGES);
  if (golden.has("eps")) await compareRollout(set);
}

async function compareRollout(set: MethodSet): Promise<void> {
  const { golden, rows, tokenizer } = set;
  const { rows: asked, group_size: G } = golden.json.config;
  using method = await set.buildColar();
  const questions = asked.flatMap((row: number) => Array(G).fill(rows[row].question));
  const sampleIds = questions.map((_: string, i: number) => i);
  const draw = { seed: 0, sampleIds };
  const rollouts = await method.policy!.rollout(questions, draw, set.recordedDraws());
  golden.same(rollouts.map(({ answer }) => answer.reasoningLength), "n_latent_forward");
  const recorded = recordedRollouts(golden);
  rollouts.forEach(({ prompt, answer, decisions }, i) => {
    golden.same(prompt, `prompt ${i}`, recorded[i].prompt);
    golden.same(answer.ids, `answer ${i}`, recorded[i].answer.ids);
    golden.same(decisions, `decisions ${i}`, recorded[i].decisions);
    const text = tokenizer.decode([tokenizer.separatorId, ...answer.ids]);
    assert.equal(text, golden.json.output_strings[i]);
  });
  const [B, N, D] = golden.shape("latent_inputs_embeds");
  const embeds = new Float32Array(B * N * D);
  rollouts.forEach((rollout, b) => embeds.set(rollout.embeds, b * N * D));
  golden.close(embeds, "latent_inputs_embeds", LATENTS, golden.ints("latent_attention_mask"));
  compareLogProbs(golden, rollouts.map(({ logProbs }) => logProbs!), "");
  const again = await logProbsOf(set, method, rollouts);
  compareLogProbs(golden, again, "");
}

/** The loss of the recorded experience at the moved parameters, with its gradients. */
export async function checkGrpoLoss(set: MethodSet): Promise<void> {
  const { gpu, golden } = set;
  const { isCorrected } = set;
  const recorded = await sibling(set, "grpo_rollout_mixed");
  using method = await set.buildColar();
  const rollouts = recordedRollouts(recorded);
  if (isCorrected) {
    compareLogProbs(golden, await logProbsOf(set, method, rollouts), "old_");
    golden.ignore("answer_mask");
  }
  const advantages = [...recorded.floats(isCorrected ? "corrected_advantages" : "advantages")];
  const old = recordedLogProbs(isCorrected ? golden : recorded, rollouts, method.policy!);
  const moved = await sibling(set, "grpo_loss_average");
  for (const { name, tensor } of method.parameters) {
    gpu.write(tensor, moved.floats(`param.${name}`));
  }
  compareLogProbs(golden, await logProbsOf(set, method, rollouts), "");
  golden.ignore(...golden.names("param."), ...golden.names("latent_"), ...golden.names("answer_"));
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const all = rollouts.map((_, i) => i);
  const experience: Experience = { rollouts, advantages, old };
  const losses = grpoLosses(g, method.policy!, experience, all, rlOf(golden));
  await set.gradients(g, method, losses, ABSOLUTE);
}

/** One step: minibatches in the recorded order, losses, gradient norms, and where the parameters end. */
export async function checkGrpoStep(set: MethodSet): Promise<void> {
  const { gpu, golden } = set;
  const { config: { lr, weight_decay: weightDecay }, log, minibatch_order } = golden.json;
  const recorded = await sibling(set, "grpo_rollout_mixed");
  using method = await set.buildColar();
  const before = await set.values(method);
  using optimizer = new AdamW(gpu, method.parameters, { lr, weightDecay });
  const policy = method.policy!;
  const rollouts = recordedRollouts(recorded);
  const experience: Experience = {
    rollouts,
    advantages: [...recorded.floats("advantages")],
    old: recordedLogProbs(recorded, rollouts, policy),
  };
  const [told, ...steps] = log;
  const mean = (values: ArrayLike<number>) =>
    Array.from(values).reduce((a, b) => a + b, 0) / values.length;
  assert.equal(mean(recorded.floats("rewards")), told.rewards);
  assert.equal(mean(rollouts.map(({ answer }) => answer.reasoningLength)), told.n_latent_forward);
  for (const [i, minibatch] of minibatch_order.entries()) {
    const done = update(gpu, policy, optimizer, experience, minibatch, { ...rlOf(golden), lr });
    const losses = await meanLosses(done.names, [done.losses]);
    const { total_loss, grad_norm, ...parts } = steps[i];
    for (const [name, wanted] of Object.entries({ loss: total_loss, ...parts })) {
      const off = Math.abs(losses[name] - (wanted as number));
      assert.ok(off <= ABSOLUTE(), `step ${i}: ${name} is off by ${off}`);
    }
    const [norm] = await done.norm.data();
    assert.ok(Math.abs(norm / grad_norm - 1) <= GRADIENT, `norm ${norm}, recorded ${grad_norm}`);
  }
  await set.compareMoved(method, before);
}

/** Groups of equal rewards: what rounding makes of them, and that the switch makes it nothing. */
export function checkEqualRewards(golden: GoldenCase): void {
  const { released, corrected } = SWITCHES.zero_equal_advantage;
  for (const { group_size, n_latents, advantage } of golden.json.table) {
    const rewards = Array<number>(group_size).fill(1 / n_latents);
    const found = groupAdvantages(rewards, group_size, released).map(Math.abs);
    golden.same(groupAdvantages(rewards, group_size, corrected), "zeros", rewards.map(() => 0));
    for (const size of found) {
      const what = `${group_size} rewards of 1/${n_latents}: ${size}, recorded ${advantage}`;
      assert.ok(Math.abs(size - advantage) < 1e-4, what);
    }
  }
}

function sibling({ set }: MethodSet, name: string): Promise<GoldenCase> {
  return GoldenCase.openNamed(`${set}/cases/${name}`);
}

function rlOf(golden: GoldenCase) {
  const { config, case: name } = golden.json;
  // Published steps and losses with the mean were recorded beside the default, which is a sum over 32.
  const departs = /^grpo_(loss_average|step)/.test(name);
  const preset = SWITCHES.average_per_token_loss[profileOf(golden)];
  return {
    clip_eps: config.clip_eps,
    average_per_token_loss: departs ? config.average_per_token_loss : preset,
    clip_grad_norm: config.max_norm ?? 1,
  };
}

/** The samples of a recorded rollout. */
function recordedRollouts(golden: GoldenCase): ColarRollout[] {
  const [B, N, D] = golden.shape("latent_inputs_embeds");
  const real = (ids: string, mask: string, b: number) => {
    const width = golden.shape(ids)[1];
    const row = (name: string) => golden.ints(name).subarray(b * width, (b + 1) * width);
    const kept = row(mask);
    return [...row(ids)].filter((_, i) => kept[i]);
  };
  const limit = golden.json.config.max_n_latent_forward;
  return Array.from({ length: B }, (_, b) => {
    const n = golden.ints("n_latent_forward")[b];
    const ids = real("answer_input_ids", "answer_attention_mask", b).slice(1);
    const first = b * N * D;
    return {
      prompt: real("question_input_ids", "question_attention_mask", b),
      embeds: golden.floats("latent_inputs_embeds").slice(first, first + n * D),
      answer: { output: "", ids, reasoningLength: n },
      decisions: [...Array<number>(n - 1).fill(0), ...n < limit ? [1] : []],
    };
  });
}

/** Log-probabilities under the parameters as they are, by part, row by row. */
async function logProbsOf(
  { gpu }: MethodSet,
  { policy }: Colar,
  rollouts: readonly ColarRollout[],
): Promise<Record<string, Float32Array>[]> {
  using scope = gpu.scope();
  const { parts } = policy!.logProbs(new Graph(gpu, scope, { training: false }), rollouts);
  const rows: Record<string, Float32Array>[] = rollouts.map(() => ({}));
  for (const [name, { logProbs, lengths }] of Object.entries(parts)) {
    const numbers = await gpu.read(logProbs);
    let begin = 0;
    lengths.forEach((n, b) => rows[b][name] = numbers.slice(begin, begin += n));
  }
  return rows;
}

/** Compares each row's log-probabilities with the recorded columns that count. */
function compareLogProbs(
  golden: GoldenCase,
  rows: readonly Readonly<Record<string, Float32Array>>[],
  prefix: string,
): void {
  const isCorrected = profileOf(golden) === "corrected";
  for (const part of Object.keys(rows[0])) {
    const name = `${prefix}${part}_logprobs`;
    const [B, width] = golden.shape(name);
    const values = new Float32Array(B * width);
    const mask = new Int32Array(B * width);
    const first = isCorrected && part === "answer" ? 1 : 0; // behind the ###
    rows.forEach((row, b) => {
      values.set(row[part], b * width + first);
      mask.fill(1, b * width + first, b * width + first + row[part].length);
    });
    golden.close(values, name, LOG_PROBS, mask);
    if (isCorrected && part !== "latent") golden.same(mask, `${part}_mask`);
  }
}

/** Recorded log-probabilities of each row as the policy lays them out. */
function recordedLogProbs(
  golden: GoldenCase,
  rollouts: readonly ColarRollout[],
  { parts }: ColarPolicy,
): Record<string, Float32Array>[] {
  const isCorrected = profileOf(golden) === "corrected";
  return rollouts.map(({ answer: { ids, reasoningLength }, decisions }, b) =>
    Object.fromEntries(parts.map((part) => {
      const name = `${isCorrected ? "old_" : ""}${part}_logprobs`;
      const width = golden.shape(name)[1];
      const first = b * width + (isCorrected && part === "answer" ? 1 : 0);
      const length = part === "latent"
        ? reasoningLength
        : part === "decision"
        ? decisions.length
        : ids.length + (isCorrected ? 0 : 1);
      return [part, golden.floats(name).slice(first, first + length)];
    }))
  );
}
