/** What Distill and CODI share, on tiny models: repeatable steps, what is trained, answers, disposal. */
import { chainGenerate } from "../../models/chain_generate.ts";
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { assertClose, distance, gpuTest } from "../check_op.ts";
import { ROWS, tinyCodi, tinyDistill } from "./tiny_distillation.ts";
import { sixRows } from "./tiny_method.ts";

for (const architecture of ["llama", "gpt2"] as const) {
  for (const [name, build] of [["distill", tinyDistill], ["codi", tinyCodi]] as const) {
    gpuTest(
      `${name}: a repeated loss has the same bits, and trains (${architecture})`,
      async (gpu) => {
        using method = await build(gpu, {}, architecture);
        const results: Float32Array[][] = [];
        for (let i = 0; i < 2; i++) {
          using scope = gpu.scope();
          const g = new Graph(gpu, scope);
          for (const { tensor } of method.parameters) gpu.clear(tensor.gradient!);
          const { total, latents } = method.loss(g, ROWS);
          assert.deepEqual(latents.map(({ shape }) => shape), Array(3).fill([3, 32]));
          g.backward([total]);
          const numbers = [await gpu.read(total) as Float32Array];
          for (const { tensor } of method.parameters) {
            {
              numbers.push(await gpu.read(tensor.gradient!) as Float32Array);
            }
          }
          results.push(numbers);
        }
        assert.deepEqual(results[0], results[1]);
        assert.ok(results[0].every((numbers) => numbers.every(Number.isFinite)));
        method.parameters.forEach(({ name }, i) => {
          // lora_A has none as long as lora_B is zero.
          const expected = !name.includes("lora_A");
          assert.equal(results[0][i + 1].some((v) => v !== 0), expected, name);
        });
      },
    );

    gpuTest(`${name}: an answer does not depend on the batch (${architecture})`, async (gpu) => {
      using method = await build(gpu, {}, architecture);
      const questions = (await sixRows()).slice(1, 4).map(({ question }, id) => ({
        id: id + 10,
        question,
      }));
      assert.deepEqual(method.speeds, ["auto"]);
      for (const greedy of [true, false]) {
        const options = { speed: "auto", greedy, seed: 2 } as const;
        const together = await method.answer(questions, options);
        for (const [i, question] of questions.entries()) {
          assert.deepEqual(await method.answer([question], options), [together[i]]);
          assert.equal(together[i].reasoningLength, 3);
          assert.equal(together[i].output, method.tokenizer.decode(together[i].ids));
        }
        const other = await method.answer(questions, { ...options, seed: 3 });
        assert.equal(JSON.stringify(other) === JSON.stringify(together), greedy);
      }
      assert.deepEqual(await method.answer([], { speed: "auto", greedy: true, seed: 0 }), []);
    });
  }
}

gpuTest("distill: latents of an answer are those of training", async (gpu) => {
  using method = await tinyDistill(gpu);
  const questions = ROWS.map(({ question }, id) => ({ id, question }));
  const options = { speed: "auto", greedy: true, seed: 0 } as const;
  const answers = await chainGenerate(method.thinker, questions, options, true);
  using scope = gpu.scope();
  const { latents } = method.loss(new Graph(gpu, scope, { training: false }), ROWS);
  const trained = await Promise.all(latents.map((latent) => gpu.read(latent)));
  const D = method.backbone.hiddenSize;
  for (const [b, answer] of answers.entries()) {
    assert.deepEqual(answer.latents, trained.map((rows) => rows.slice(b * D, (b + 1) * D)));
  }
  using alone = await tinyDistill(gpu, { cache_in_latent_loop: false });
  const [first] = await chainGenerate(alone.thinker, questions, options, true);
  // Other positions, so another rounding.
  assertClose(first.latents[0], answers[0].latents[0], 1e-5, "the first latent");
  assert.ok(distance(first.latents[1], answers[0].latents[1]) > 1e-3);
});

gpuTest("distill: without an adapter the backbone itself is trained", async (gpu) => {
  using method = await tinyDistill(gpu, { do_lora: false, distill_proj: false });
  const names = method.parameters.map(({ name }) => name);
  assert.ok(names.includes("llm.model.layers.0.mlp.up_proj.weight"));
  assert.ok(!names.some((name) => name.includes("lora") || name.includes("latent_proj")));
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  g.backward([method.loss(g, ROWS).total]);
  for (const { name, tensor } of method.parameters) {
    assert.ok((await gpu.read(tensor.gradient!)).some((v) => v !== 0), name);
  }
});

gpuTest("codi: keys of a projector that is not there are refused", async (gpu) => {
  const refused: [Parameters<typeof tinyCodi>[1], string][] = [
    [
      { prj_no_ln: true },
      "prj_no_ln is True, but use_prj is False: it is a key of the projector; set use_prj=True or prj_no_ln=False",
    ],
    [
      { prj_dim: 8 },
      "prj_dim is 8, but use_prj is False: it is a key of the projector; set use_prj=True or prj_dim=null",
    ],
  ];
  for (const [changes, message] of refused) {
    await assert.rejects(tinyCodi(gpu, { use_prj: false, ...changes }), {
      name: "RangeError",
      message,
    });
    using _allowed = await tinyCodi(gpu, changes);
  }
  using plain = await tinyCodi(gpu, { use_prj: false });
  assert.ok(plain.parameters.every(({ name }) => !name.startsWith("latent_proj")));
});

gpuTest("distill: disposing takes the adapter off the backbone", async (gpu) => {
  const method = await tinyDistill(gpu);
  assert.ok(method.backbone.adapter);
  method[Symbol.dispose]();
  assert.equal(method.backbone.adapter, undefined);
});
