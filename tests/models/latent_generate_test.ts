/** What CoLaR's thinking can be asked: any speed, a speed for each question, a fixed number of latents. */
import assert from "node:assert/strict";
import type { Gpu } from "../../gpu/device.ts";
import { latentGenerate } from "../../models/latent_generate.ts";
import { gpuTest } from "../check_op.ts";
import { type ColarChanges, likelyColar, sixRows, tinyColar } from "./tiny_method.ts";

const ending = (gpu: Gpu, changes: ColarChanges = {}) =>
  likelyColar(gpu, changes, ({ separatorId }) => [separatorId]);

const asked = async () =>
  (await sixRows()).slice(0, 4).map(({ question }, id) => ({ id, question }));

gpuTest(
  "latentGenerate: each question has its speed, trained or not, as if asked alone",
  async (gpu) => {
    using method = await tinyColar(gpu);
    const questions = await asked();
    const speeds = [5, 1.5, 8, "auto"] as const;
    const own = questions.map((question, i) => ({ ...question, speed: speeds[i] }));
    const together = await latentGenerate(method, own, { speed: 5, greedy: true, seed: 0 });
    for (const [i, speed] of speeds.entries()) {
      const [alone] = await method.answer([questions[i]], { speed, greedy: true, seed: 0 });
      assert.deepEqual(together[i].ids, alone.ids);
      assert.equal(together[i].reasoningLength, alone.reasoningLength);
    }
    const [other] = await method.answer([questions[1]], { speed: 5, greedy: true, seed: 0 });
    assert.notDeepEqual(other.ids, together[1].ids, "the prompt names the speed");
  },
);

gpuTest(
  "latentGenerate: n_latent_forward fixes the number of latents, null leaves it to the model",
  async (gpu) => {
    const questions = await asked();
    for (const greedy of [true, false]) {
      for (const n_latent_forward of [1, 5, 9]) {
        using method = await tinyColar(gpu, { n_latent_forward });
        const options = { speed: 5, greedy, seed: 2, trace: true };
        const answers = await latentGenerate(method, questions, options);
        for (const { reasoningLength, thought } of answers) {
          assert.equal(reasoningLength, n_latent_forward);
          assert.equal(thought.latents.length, n_latent_forward);
          assert.equal(thought.stopped, false);
        }
      }
    }
    using free = await ending(gpu);
    const answers = await free.answer(questions, { speed: 5, greedy: false, seed: 2 });
    assert.ok(new Set(answers.map(({ reasoningLength }) => reasoningLength)).size > 1);
  },
);

gpuTest(
  "latentGenerate: a fixed number equal to the one decided gives the same answer",
  async (gpu) => {
    const [question] = await asked();
    const options = { speed: 5, greedy: false, seed: 2 } as const;
    using free = await ending(gpu);
    const [decided] = await free.answer([question], options);
    using fixed = await ending(gpu, { n_latent_forward: decided.reasoningLength });
    assert.deepEqual(await fixed.answer([question], options), [decided]);
  },
);
