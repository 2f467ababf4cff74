/** CoT on tiny models: the batch, gradients for what is trained, answers that do not depend on the batch. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import create from "../../models/cot.ts";
import { IGNORED } from "../../models/language_loss.ts";
import { gpuTest } from "../check_op.ts";
import { sixRows, tinyCot } from "./tiny_method.ts";
import { tinyIcot } from "./tiny_stages.ts";

gpuTest(
  "cot: rows shorter than the longest keep one invisible pad before their steps",
  async (gpu) => {
    using method = await tinyCot(gpu);
    const { tokenizer } = method;
    const rows = (await sixRows()).slice(1, 3);
    const { ids, labels, visible } = method.batch(rows);
    assert.equal(visible[0].every((v) => v === 1), true, "the longest row has none");
    const pads = visible[1].flatMap((v, i) => v ? [] : [i]);
    assert.equal(pads.length, 1);
    const at = visible[0].length + pads[0];
    assert.equal(ids[at], tokenizer.padId);
    assert.equal(labels[at], IGNORED);
    assert.equal(labels[at + 1], tokenizer.separatorId);
    assert.deepEqual([...labels.slice(at + 1)], [...ids.slice(at + 1)]);
    assert.equal(ids.at(-1), tokenizer.eosId);
    assert.throws(() => method.batch([]), {
      name: "RangeError",
      message: "cot: a batch needs at least one row",
    });
  },
);

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(`cot: a repeated loss has the same bits, and trains (${architecture})`, async (gpu) => {
    for (const do_lora of [true, false]) {
      using method = await tinyCot(gpu, { do_lora }, architecture);
      const rows = (await sixRows()).slice(0, 2);
      const results = [];
      for (let i = 0; i < 2; i++) {
        using scope = gpu.scope();
        const g = new Graph(gpu, scope);
        for (const { tensor } of method.parameters) gpu.clear(tensor.gradient!);
        const { total, numTokens } = method.loss(g, rows);
        assert.equal(numTokens, method.batch(rows).ids.length);
        g.backward([total]);
        const gradients = [];
        for (const { tensor } of method.parameters) {
          gradients.push(await gpu.read(tensor.gradient!));
        }
        results.push([await gpu.read(total), ...gradients]);
      }
      assert.deepEqual(results[0], results[1]);
      assert.ok(results[0].slice(1).some((gradient) => gradient.some((x) => x !== 0)));
      const names = method.parameters.map(({ name }) => name);
      const embeddings = architecture === "llama"
        ? "llm.model.embed_tokens.weight"
        : "llm.wte.weight";
      assert.equal(names.includes(embeddings), false, "embeddings stay as they are");
      assert.ok(names.every((name) =>
        name.startsWith(do_lora ? "llm.base_model.model." : "llm.") &&
        (!do_lora || /\.lora_[AB]\.default\.weight$/.test(name))
      ));
    }
  });

  gpuTest(`cot: an answer does not depend on the batch (${architecture})`, async (gpu) => {
    using method = await tinyCot(gpu, {}, architecture);
    const questions = (await sixRows()).slice(1, 4).map(({ question }, id) => ({
      id: id + 10,
      question,
    }));
    for (const greedy of [true, false]) {
      const options = { speed: 1, greedy, seed: 2 };
      const together = await method.answer(questions, options);
      for (const [i, question] of questions.entries()) {
        assert.deepEqual(await method.answer([question], options), [together[i]]);
      }
      if (greedy) continue;
      const other = await method.answer(questions, { ...options, seed: 3 });
      assert.notDeepEqual(other, together);
      assert.ok(together.every(({ ids }) => !ids.includes(method.tokenizer.padId)));
    }
    assert.deepEqual(await method.answer([], { speed: 1, greedy: true, seed: 0 }), []);
  });
}

gpuTest("cot, icot: a question's own speed is the one that its prompt names", async (gpu) => {
  const questions = (await sixRows()).slice(1, 3).map(({ question }, id) => ({ id, question }));
  for (const make of [tinyCot, tinyIcot]) {
    using method = await make(gpu);
    const own = questions.map((question, i) => ({ ...question, speed: [8, 3][i] }));
    const together = await method.answer(own, { speed: 1, greedy: true, seed: 0 });
    const usual = await method.answer(questions, { speed: 1, greedy: true, seed: 0 });
    assert.notDeepEqual(together, usual);
    for (const [i, { speed }] of own.entries()) {
      const alone = await method.answer([questions[i]], { speed, greedy: true, seed: 0 });
      assert.deepEqual(alone, [together[i]]);
    }
  }
});

gpuTest("cot: the embeddings are trained when they are not frozen", async (gpu) => {
  using method = await tinyCot(gpu, { do_lora: false, freeze_embeddings: false });
  assert.equal(method.parameters[0].name, "llm.model.embed_tokens.weight");
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  g.backward([method.loss(g, (await sixRows()).slice(0, 1)).total]);
  assert.ok((await gpu.read(method.parameters[0].tensor.gradient!)).some((x) => x !== 0));
});

gpuTest(
  "cot: an unknown target module is refused, and so is a table without [PAD]",
  async (gpu) => {
    const lora_config = { r: 4, lora_alpha: 8, target_modules: ["nothing"] };
    await assert.rejects(tinyCot(gpu, { lora_config }), {
      name: "TypeError",
      message: /^lora target 'nothing' is no module of the model; it has: /,
    });
    assert.equal(typeof create, "function");
  },
);

gpuTest("cot: disposing takes the adapter off the backbone", async (gpu) => {
  const method = await tinyCot(gpu);
  assert.ok(method.backbone.adapter);
  method[Symbol.dispose]();
  assert.equal(method.backbone.adapter, undefined);
});
