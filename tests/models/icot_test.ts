/** iCoT on tiny models: rows stage by stage, switches alone, the prompt of answers, training on both architectures. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { answerIds, promptIds, questionIds } from "../../data/prompt.ts";
import create from "../../models/icot.ts";
import { IGNORED } from "../../models/language_loss.ts";
import { gpuTest } from "../check_op.ts";
import { sixRows } from "./tiny_method.ts";
import { RELEASED, tinyIcot } from "./tiny_stages.ts";

const at = (epoch: number) => ({ seed: 0, step: 0, epoch, progress: 0 });
const LAST = { number: 3, numRemoved: Infinity, numReplaced: 3 };

gpuTest("icot: at the last stage ### and the answer follow the question", async (gpu) => {
  using method = await tinyIcot(gpu);
  const { tokenizer } = method;
  const rows = await sixRows();
  method.batch(rows, LAST).forEach(({ ids, labels, visible }, b) => {
    const asked = promptIds(tokenizer, rows[b].question, "auto");
    const following = [tokenizer.separatorId, ...answerIds(tokenizer, rows[b].answer)];
    assert.deepEqual(ids, [...asked, ...following]);
    assert.deepEqual(labels, [...asked.map(() => IGNORED), ...following]);
    assert.ok(visible.every((v) => v === 1));
  });
  assert.throws(() => method.batch([], LAST), {
    name: "RangeError",
    message: "icot: a batch needs at least one row",
  });
  await assert.rejects(tinyIcot(gpu, { stage_ends: [0.5] }), { name: "RangeError" });
  assert.equal(typeof create, "function");
});

gpuTest("icot: rows shrink from stage to stage, and released ones are padded", async (gpu) => {
  using corrected = await tinyIcot(gpu);
  using released = await tinyIcot(gpu, RELEASED);
  const rows = await sixRows();
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const tokens = (method: typeof corrected) =>
    [0, 1, 2].map((epoch) => method.loss(g, rows, at(epoch)).numTokens);
  const [few, many] = [tokens(corrected), tokens(released)];
  assert.ok(few[0] > few[1] && few[1] > few[2], `${few}`);
  assert.ok(many.every((count, i) => count > few[i]), `${many}`);
  assert.equal(corrected.loss(g, rows, at(9)).numTokens, few[2]);
});

gpuTest("icot: the released prompt is the bare question", async (gpu) => {
  using corrected = await tinyIcot(gpu);
  using released = await tinyIcot(gpu, { icot_prompt: "as-released" });
  const { tokenizer } = corrected;
  const [{ question }] = await sixRows();
  const bare = questionIds(tokenizer, question, "");
  assert.notDeepEqual(bare, promptIds(tokenizer, question, "auto").slice(0, bare.length + 1));
  const options = { speed: "auto", greedy: true, seed: 0 } as const;
  const questions = [{ id: 0, question }];
  const [ours, theirs] = [
    await corrected.answer(questions, options),
    await released.answer(questions, options),
  ];
  assert.notDeepEqual(ours[0].ids, theirs[0].ids);
});

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(
    `icot: a repeated loss has the same bits, each switch another (${architecture})`,
    async (gpu) => {
      const rows = (await sixRows()).slice(2, 5);
      const values = new Set<number>();
      const alone = Object.entries(RELEASED).map(([key, value]) => ({ [key]: value }));
      for (const changes of [{}, ...alone, { do_lora: false }]) {
        using method = await tinyIcot(gpu, changes, architecture);
        const losses = [];
        for (let i = 0; i < 2; i++) {
          using scope = gpu.scope();
          const g = new Graph(gpu, scope);
          const { total } = method.loss(g, rows, at(0));
          g.backward([total]);
          losses.push((await gpu.read(total))[0]);
        }
        assert.equal(losses[0], losses[1]);
        values.add(losses[0]);
        const gradients = await Promise.all(
          method.parameters.map(({ tensor }) => gpu.read(tensor.gradient!)),
        );
        assert.ok(gradients.some((gradient) => gradient.some((x) => x !== 0)));
      }
      // Training all of a model begins from the same values as an adapter, whose B is 0.
      assert.equal(values.size, 1 + alone.length);
    },
  );
}
