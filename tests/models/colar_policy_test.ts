/** CoLaR as a policy: old log-probabilities are those of the samples, whatever drew them; what groups share; switches. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Colar } from "../../models/colar.ts";
import { ColarPolicy } from "../../models/colar_policy.ts";
import type { ColarRollout } from "../../models/colar_rollout.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { assertRowsLeave, countingBackbone } from "../counting_backbone.ts";
import { type ColarChanges, likelyColar, sixRows, tinyColar } from "./tiny_method.ts";

const RL: ColarChanges = { do_rl: true, max_n_latent_forward: 5, top_p: 1 };

/** A method whose thinking ends now and then before the limit. */
function reinforced(gpu: Gpu, changes: ColarChanges = {}): Promise<Colar> {
  return likelyColar(gpu, { ...RL, ...changes }, ({ separatorId }) => [separatorId]);
}

async function questions(): Promise<string[]> {
  return (await sixRows()).slice(0, 2).flatMap(({ question }) => Array<string>(4).fill(question));
}

const sampleIds = [8, 9, 10, 11, 12, 13, 14, 15];

/** Log-probabilities computed anew, by part, row by row. */
async function computed(gpu: Gpu, { policy }: Colar, rollouts: readonly ColarRollout[]) {
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

const WAYS: readonly (readonly [string, "llama" | "gpt2", ColarChanges])[] = [
  ["at temperature 1 without limits", "llama", {}],
  ["on GPT-2", "gpt2", {}],
  ["as released", "llama", { continue_decisions: false, top_p: 0.9, top_k: 50 }],
  ["with sums over D", "llama", { latent_logprob: "sum" }],
  ["at other temperatures", "llama", { latent_temperature: 0.5, temperature: 2, top_p: 0.9 }],
  ["with a fixed number of latents", "llama", { n_latent_forward: 3 }],
  ["at drawn speeds", "llama", { random_speed_in_group: true }],
];

for (const [name, architecture, changes] of WAYS) {
  gpuTest(`policy: what the rollout kept is what a pass computes, ${name}`, async (gpu) => {
    using method = architecture === "gpt2"
      ? await tinyColar(gpu, { ...RL, ...changes }, architecture)
      : await reinforced(gpu, changes);
    const asked = await questions();
    const rollouts = await method.policy!.rollout(asked, { seed: 3, sampleIds });
    const again = await computed(gpu, method, rollouts);
    rollouts.forEach(({ logProbs }, i) => {
      assert.deepEqual(Object.keys(logProbs!), [...method.policy!.parts]);
      for (const part of method.policy!.parts) {
        assertClose(logProbs![part], again[i][part], 5e-5, `${part} of sample ${i}`);
      }
    });
    const lengths = rollouts.map(({ answer }) => answer.reasoningLength);
    if (changes.n_latent_forward) assert.deepEqual(lengths, sampleIds.map(() => 3));
    else if (architecture === "llama") {
      assert.ok(new Set(lengths).size > 1, `all think equally long: ${lengths}`);
    }
  });
}

gpuTest(
  "policy: a sample depends on seed and number alone, not on its batch or group",
  async (gpu) => {
    using method = await reinforced(gpu);
    const asked = await questions();
    const together = await method.policy!.rollout(asked, { seed: 3, sampleIds });
    const [alone] = await method.policy!.rollout([asked[6]], { seed: 3, sampleIds: [14] });
    assert.deepEqual(alone.answer, together[6].answer);
    assertClose(alone.embeds, together[6].embeds, 1e-5, "latents");
    const texts = together.map(({ answer: { ids } }) => ids.join());
    assert.ok(new Set(texts).size > 4, "samples of a group differ");
    const other = await method.policy!.rollout(asked, { seed: 4, sampleIds });
    assert.notDeepEqual(other.map(({ answer }) => answer), together.map(({ answer }) => answer));
  },
);

gpuTest(
  "policy: decisions are all that were made: none at the limit, none when fixed",
  async (gpu) => {
    using method = await reinforced(gpu);
    const rollouts = await method.policy!.rollout(await questions(), { seed: 3, sampleIds });
    let ended = 0;
    for (const { answer: { reasoningLength: n }, decisions } of rollouts) {
      const expected = [...Array<number>(n - 1).fill(0), ...n < 5 ? [1] : []];
      assert.deepEqual(decisions, expected);
      ended += expected.at(-1) ?? 0;
    }
    assert.ok(ended > 0 && ended < 8, `${ended} of 8 ended by themselves: both must be there`);
    using fixed = await reinforced(gpu, { n_latent_forward: 2 });
    for (
      const { decisions } of await fixed.policy!.rollout(await questions(), { seed: 3, sampleIds })
    ) {
      assert.deepEqual(decisions, []);
    }
  },
);

gpuTest("policy: decisions and the ### of the answer are of one distribution", async (gpu) => {
  using corrected = await reinforced(gpu);
  using released = await reinforced(gpu, { continue_decisions: false });
  const rollouts = await corrected.policy!.rollout(await questions(), { seed: 3, sampleIds });
  const [a, b] = [
    await computed(gpu, corrected, rollouts),
    await computed(gpu, released, rollouts),
  ];
  assert.deepEqual(Object.keys(b[0]), ["latent", "answer"]);
  rollouts.forEach(({ decisions, answer }, i) => {
    assertClose(b[i].answer.slice(1), a[i].answer, 1e-6, "the answer behind ###");
    assert.equal(b[i].answer.length, answer.ids.length + 1);
    if (decisions.at(-1)) assertClose([b[i].answer[0]], a[i].decision.slice(-1), 1e-6, "###");
    assert.ok(a[i].decision.every((x) => x <= 0));
  });
});

gpuTest("policy: a rollout computes each question once, and no row after its end", async (gpu) => {
  const limits = { max_n_latent_forward: 9, max_new_tokens: 24 };
  using method = await likelyColar(
    gpu,
    { ...RL, ...limits },
    ({ separatorId, eosId }) => [separatorId, eosId],
  );
  const { tokenizer, head, embedsStd, options } = method;
  const seen: number[] = [];
  const backbone = countingBackbone(method.backbone, seen);
  const policy = new ColarPolicy({ backbone, tokenizer, head, embedsStd, options });
  const rollouts = await policy.rollout(await questions(), { seed: 3, sampleIds });
  const distinct = new Map(rollouts.map(({ prompt }) => [prompt.join(), prompt]));
  assert.equal(distinct.size, 2);
  const latents = rollouts.map(({ answer }) => answer.reasoningLength);
  const texts = rollouts.map(({ answer }) => answer.ids.length);
  assert.equal(Math.max(...latents), 9, "one row thinks up to the limit");
  assert.equal(seen.shift(), [...distinct.values()].flat().length);
  // At most four latents are recorded before a read, and eight tokens; then comes ### of all rows.
  assertRowsLeave(seen.splice(0, 9), latents, 3);
  assert.equal(seen.shift(), sampleIds.length);
  assertRowsLeave(seen, texts.map((length) => length - 1), 8);
});

gpuTest("policy: drawn speeds are trained factors, fixed by the sample's number", async (gpu) => {
  using method = await reinforced(gpu, {
    random_speed_in_group: true,
    max_compression_factor: "1,3",
  });
  const asked = await questions();
  const prompts = async (seed: number) => {
    const rollouts = await method.policy!.rollout(asked, { seed, sampleIds });
    return rollouts.map(({ prompt }) => method.tokenizer.decode(prompt));
  };
  const texts = await prompts(3);
  assert.deepEqual(await prompts(3), texts);
  const speeds = new Set(texts.map((text) => /speed: (\w+)\)/.exec(text)![1]));
  assert.deepEqual([...speeds].sort(), ["1", "3"]);
});

gpuTest(
  "policy: [PAD] inside an answer is no part of the row, and old values are computed anew",
  async (gpu) => {
    using method = await reinforced(gpu, { continue_decisions: false });
    const [asked] = await questions();
    const [rollout] = await method.policy!.rollout([asked], { seed: 3, sampleIds: [8] });
    const { padId, eosId } = method.tokenizer;
    const withPad = { ...rollout, answer: { ...rollout.answer, ids: [20, padId, 30, eosId] } };
    const without = { ...rollout, answer: { ...rollout.answer, ids: [20, 30, eosId] } };
    const [[a], [b]] = [
      await computed(gpu, method, [withPad]),
      await computed(gpu, method, [without]),
    ];
    assert.equal(a.answer.length, 4);
    const [, , third, last] = a.answer;
    // The token behind the hole is predicted from the hole, all others as if it were not there.
    assertClose(
      [a.answer[0], a.answer[1], last],
      [b.answer[0], b.answer[1], b.answer[3]],
      1e-5,
      "others",
    );
    assert.notEqual(third, b.answer[2]);
    using padding = await likelyColar(gpu, { ...RL, pad_in_answer: true }, () => [padId]);
    const many = Array<string>(64).fill(asked);
    const drawn = await padding.policy!.rollout(many, {
      seed: 1,
      sampleIds: many.map((_, i) => i),
    });
    const padded = drawn.filter(({ answer }) => answer.ids.includes(padId));
    assert.ok(padded.length > 0, "no [PAD] was drawn");
    for (const { answer, logProbs } of drawn) {
      assert.equal(logProbs === undefined, answer.ids.includes(padId));
    }
  },
);
