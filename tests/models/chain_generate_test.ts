/** Answers by a fixed number of latents: those of training, whatever else is in the batch; and without the cache. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { promptIds } from "../../data/prompt.ts";
import { chainGenerate } from "../../models/chain_generate.ts";
import { chainLatents } from "../../models/latent_chain.ts";
import { gpuTest } from "../check_op.ts";
import { sixRows } from "./tiny_method.ts";
import { tinyCoconut } from "./tiny_stages.ts";

const AUTO = "auto" as const;

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(`chain generate: no answer depends on the batch (${architecture})`, async (gpu) => {
    const rows = (await sixRows()).slice(1, 4);
    const questions = rows.map(({ question }, id) => ({ id: id + 4, question }));
    for (const cache_in_latent_loop of [true, false]) {
      using method = await tinyCoconut(gpu, { cache_in_latent_loop }, architecture);
      for (const greedy of [true, false]) {
        const options = { speed: AUTO, greedy, seed: 2 };
        const together = await chainGenerate(method.thinker, questions, options, true);
        for (const [i, question] of questions.entries()) {
          const [alone] = await chainGenerate(method.thinker, [question], options, true);
          // The question pass without the cache has positions of columns, which the batch pads.
          const isExact = cache_in_latent_loop || i === longest(method, questions);
          if (isExact) assert.deepEqual(alone, together[i]);
        }
        assert.ok(together.every(({ reasoningLength }) => reasoningLength === 6));
        assert.ok(together.every(({ ids }) => !ids.includes(method.tokenizer.padId)));
      }
      assert.deepEqual(await method.answer([], { speed: AUTO, greedy: true, seed: 0 }), []);
    }
  });
}

function longest(
  { tokenizer }: Awaited<ReturnType<typeof tinyCoconut>>,
  questions: readonly { question: string }[],
): number {
  const lengths = questions.map(({ question }) => promptIds(tokenizer, question, AUTO).length);
  return lengths.indexOf(Math.max(...lengths));
}

gpuTest(
  "chain generate: latents are those of training, unless they see themselves only",
  async (gpu) => {
    const questions = (await sixRows()).slice(0, 2).map(({ question }, id) => ({ id, question }));
    using seeing = await tinyCoconut(gpu);
    using blind = await tinyCoconut(gpu, { cache_in_latent_loop: false });
    const options = { speed: AUTO, greedy: true, seed: 0 };
    const [answer] = await chainGenerate(seeing.thinker, questions, options, true);
    const [other] = await chainGenerate(blind.thinker, questions, options, true);
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const prompts = questions.map((q) => promptIds(seeing.tokenizer, q.question, AUTO));
    const { latents } = chainLatents(g, seeing.backbone, prompts, { numLatents: 6, room: 0 });
    const D = seeing.backbone.hiddenSize;
    for (const [i, latent] of latents.entries()) {
      assert.deepEqual((await gpu.read(latent)).slice(0, D), answer.latents[i]);
    }
    assert.equal(answer.latents.length, 6);
    const off = (i: number) =>
      Math.hypot(...answer.latents[i].map((x, j) => x - other.latents[i][j]));
    assert.ok(off(0) < 1e-3, "the first is the question's last state in both");
    assert.ok(off(1) > 0.1 && off(5) > 0.1, `${off(1)}, ${off(5)}`);
  },
);

gpuTest(
  "chain generate: a question that leaves its answer no room is refused at once",
  async (gpu) => {
    for (const cache_in_latent_loop of [true, false]) {
      using method = await tinyCoconut(gpu, { cache_in_latent_loop });
      let question = "1";
      while (promptIds(method.tokenizer, question, AUTO).length < 505) question += " 1";
      const options = { speed: AUTO, greedy: true, seed: 0 };
      await assert.rejects(chainGenerate(method.thinker, [{ id: 0, question }], options), {
        message: /^row 0 of the batch has a prompt of 50\d tokens and may grow by \d+, but/,
      });
    }
  },
);
