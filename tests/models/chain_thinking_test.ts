/** How chained latents are thought: as many as in training, another number, or as many as the model decides; speeds. */
import assert from "node:assert/strict";
import type { Gpu } from "../../gpu/device.ts";
import { type ChainAnswer, chainGenerate, type ChainThinker } from "../../models/chain_generate.ts";
import type { Method } from "../../models/method.ts";
import { gpuTest } from "../check_op.ts";
import { tinyCodi, tinyDistill } from "./tiny_distillation.ts";
import { AS_TRAINED, makeLikely, sixRows, UNTIED } from "./tiny_method.ts";
import { tinyCoconut } from "./tiny_stages.ts";

/** Keys that change how a method thinks. */
type Changes = Partial<Record<keyof typeof AS_TRAINED, unknown>>;
type Chained = Method & { readonly thinker: ChainThinker };

const METHODS: Record<string, (gpu: Gpu, changes?: Changes) => Promise<Chained>> = {
  coconut: (gpu, changes) => tinyCoconut(gpu, changes as object, "llama", UNTIED),
  distill: (gpu, changes) => tinyDistill(gpu, changes as object, "llama", UNTIED),
  codi: (gpu, changes) => tinyCodi(gpu, changes as object, "llama", UNTIED),
};

const asked = async () => (await sixRows()).map(({ question }, id) => ({ id, question }));

/** A method that decides when to stop, and now and then does. */
async function deciding(gpu: Gpu, name: string, changes: Changes = {}): Promise<Chained> {
  const method = await METHODS[name](gpu, { n_latent_forward: null, ...changes });
  await makeLikely(gpu, method.backbone, [method.tokenizer.separatorId]);
  return method;
}

/** The most probable token behind a latent, from the output of the last block where it stands. */
async function nextToken(gpu: Gpu, { backbone }: Method, state: Float32Array): Promise<number> {
  const table = await gpu.read(backbone.head);
  const [numTokens, D] = backbone.head.shape;
  const logits = Array.from(
    { length: numTokens },
    (_, v) => state.reduce((sum, x, d) => sum + x * table[v * D + d], 0),
  );
  return logits.indexOf(Math.max(...logits));
}

/** An answer without what only one way of thinking keeps. */
const common = ({ stopLogProbs: _, ...answer }: ChainAnswer) => answer;

for (const name of Object.keys(METHODS)) {
  gpuTest(
    `${name}: greedily it stops at the first latent behind which ### is next`,
    async (gpu) => {
      using method = await deciding(gpu, name, { max_n_latent_forward: 6 });
      const options = { speed: "auto", greedy: true, seed: 2 } as const;
      const answers = await chainGenerate(method.thinker, await asked(), options, true, [2]);
      const lengths = answers.map(({ reasoningLength }) => reasoningLength);
      assert.ok(new Set(lengths).size > 2 && Math.max(...lengths) === 6, `${lengths}`);
      for (const { reasoningLength, latents, states, stopLogProbs } of answers) {
        assert.deepEqual([latents.length, stopLogProbs!.length], [
          reasoningLength,
          reasoningLength,
        ]);
        for (const [i, [state]] of states.entries()) {
          const isLast = i + 1 === reasoningLength;
          const stops = await nextToken(gpu, method, state) === method.tokenizer.separatorId;
          assert.ok(isLast ? stops || reasoningLength === 6 : !stops, `latent ${i}`);
        }
      }
      // The same latents fixed beforehand give the same answer.
      for (const [b, question] of (await asked()).entries()) {
        using fixed = await deciding(gpu, name, { n_latent_forward: lengths[b] });
        const [answer] = await chainGenerate(fixed.thinker, [question], options, true, [2]);
        assert.deepEqual(common(answer), common(answers[b]));
      }
    },
  );

  gpuTest(
    `${name}: drawn decisions do not depend on the batch, and follow their temperature`,
    async (gpu) => {
      const questions = await asked();
      const options = { speed: "auto", greedy: false, seed: 2 } as const;
      using method = await deciding(gpu, name, { max_n_latent_forward: 9 });
      const together = await chainGenerate(method.thinker, questions, options, true, [1]);
      for (const [i, question] of questions.entries()) {
        const [alone] = await chainGenerate(method.thinker, [question], options, true, [1]);
        assert.deepEqual(alone, together[i]);
      }
      const lengths = async (of: Method, changes: { greedy?: boolean; seed?: number } = {}) =>
        (await of.answer(questions, { ...options, ...changes })).map((answer) =>
          answer.reasoningLength
        );
      const drawn = await lengths(method);
      assert.ok(new Set(drawn).size > 1 && drawn.every((n) => n >= 1 && n <= 9), `${drawn}`);
      assert.notDeepEqual(await lengths(method, { seed: 3 }), drawn);
      using cold = await deciding(gpu, name, { max_n_latent_forward: 9, eol_temperature: 1e-4 });
      assert.deepEqual(await lengths(cold), await lengths(method, { greedy: true }));
      using hot = await deciding(gpu, name, { max_n_latent_forward: 9, eol_temperature: 1e4 });
      assert.deepEqual(await lengths(hot), questions.map(() => 9), "one token of 600");
    },
  );

  gpuTest(`${name}: a number fixes the latents, whose first are those of training`, async (gpu) => {
    const questions = await asked();
    const options = { speed: "auto", greedy: false, seed: 2 } as const;
    using trained = await METHODS[name](gpu);
    const usual = await chainGenerate(trained.thinker, questions, options, true);
    for (const n_latent_forward of [1, 5, 9]) {
      using method = await METHODS[name](gpu, { n_latent_forward });
      const answers = await chainGenerate(method.thinker, questions, options, true);
      for (const [b, { reasoningLength, latents }] of answers.entries()) {
        assert.deepEqual([reasoningLength, latents.length], [n_latent_forward, n_latent_forward]);
        const shared = Math.min(n_latent_forward, usual[b].reasoningLength);
        assert.deepEqual(latents.slice(0, shared), usual[b].latents.slice(0, shared));
      }
      if (n_latent_forward !== usual[0].reasoningLength) {
        assert.notDeepEqual(answers.map(({ ids }) => ids), usual.map(({ ids }) => ids));
      }
    }
  });

  gpuTest(
    `${name}: prompts name the speed that is asked, of all or of each question`,
    async (gpu) => {
      using method = await METHODS[name](gpu, { compression_factor: "1.5,auto" });
      assert.deepEqual(method.speeds, [1.5, "auto"]);
      const questions = (await asked()).slice(0, 3);
      const speeds = [1.5, "auto", 8] as const;
      const own = questions.map((question, i) => ({ ...question, speed: speeds[i] }));
      const together = await method.answer(own, { speed: 3, greedy: true, seed: 0 });
      const others = await method.answer(questions, { speed: 3, greedy: true, seed: 0 });
      for (const [i, speed] of speeds.entries()) {
        const options = { speed, greedy: true, seed: 0 };
        assert.deepEqual(await method.answer([questions[i]], options), [together[i]]);
      }
      assert.notDeepEqual(together, others, "the prompt names the speed");
    },
  );
}

gpuTest(
  "latents that see only themselves are as many as is said, and cannot decide",
  async (gpu) => {
    const options = { speed: "auto", greedy: true, seed: 0 } as const;
    for (const make of [tinyCoconut, tinyDistill]) {
      using alone = await make(gpu, { cache_in_latent_loop: false, n_latent_forward: 2 });
      const answers = await chainGenerate(alone.thinker, await asked(), options, true, [1]);
      assert.ok(answers.every(({ latents }) => latents.length === 2));
      assert.ok(answers.every(({ reasoningLength }) => reasoningLength === 2));
      using none = await make(gpu, { cache_in_latent_loop: false, n_latent_forward: null });
      await assert.rejects(none.answer(await asked(), options), {
        name: "RangeError",
        message:
          "n_latent_forward must be trained or a number with cache_in_latent_loop=False, got null",
      });
    }
  },
);
