/** CoLaR on tiny models: draws, switches, gradients, answers that do not depend on the batch. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import create, { Colar } from "../../models/colar.ts";
import type { ColarConfig, CotConfig } from "../../io/config_schema.ts";
import type { ColarOptions } from "../../models/colar_options.ts";
import type { CotOptions } from "../../models/cot.ts";
import { batchDraws } from "../../models/colar_draws.ts";
import { addPadRow } from "../../models/vocabulary.ts";
import { gpuTest } from "../check_op.ts";
import { methodsTokenizer } from "../methods_text.ts";
import { colarOptions, RELEASED, sixRows, tinyBackbone, tinyColar } from "./tiny_method.ts";

// What the configuration gives is what the methods take: checked by the compiler.
const takes = <T>(_options?: T) => {};
takes<ColarOptions>({} as ColarConfig["model_kwargs"]);
takes<CotOptions>({} as CotConfig["model_kwargs"]);

/** Losses of one batch by name, read back. */
async function losses(gpu: Gpu, method: Colar, step = 0): Promise<Record<string, number>> {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const { total, parts } = method.loss(g, await sixRows(), {
    seed: 1,
    step,
    epoch: 0,
    progress: 0,
  });
  const found: Record<string, number> = {};
  for (const [name, tensor] of Object.entries({ total, ...parts })) {
    [found[name]] = await gpu.read(tensor);
  }
  return found;
}

/** Fixes c, so that switches are compared at one compression. */
const c3 = { max_compression_factor: "3,3" };

Deno.test("colar: c covers its range over the steps, auto comes as often as asked, labels are spread", () => {
  const options = { max_compression_factor: 5, replace_r_with_auto_prob: 0.25 };
  const draws = Array.from({ length: 400 }, (_, step) => batchDraws({ seed: 1, step }, options, 8));
  for (let c = 1; c <= 5; c++) {
    const count = draws.filter(({ compression }) => compression === c).length;
    assert.ok(count > 50 && count < 115, `c = ${c} came ${count} times of 400`);
  }
  const autos = draws.filter(({ speed }) => speed === "auto").length;
  assert.ok(autos > 65 && autos < 135, `auto came ${autos} times of 400`);
  assert.ok(draws.every(({ speed, compression }) => speed === "auto" || speed === compression));
  const labels = Array.from({ length: 300 }, (_, i) => draws[0].labelChoice(0, i, 3));
  for (const choice of [0, 1, 2]) {
    const count = labels.filter((label) => label === choice).length;
    assert.ok(count > 65 && count < 140, `label ${choice} came ${count} times of 300`);
  }
  const again = batchDraws({ seed: 1, step: 0 }, options, 8);
  assert.deepEqual(Array.from({ length: 300 }, (_, i) => again.labelChoice(0, i, 3)), labels);
  const listed = { ...options, max_compression_factor: "2,4" };
  const found = new Set(
    Array.from({ length: 40 }, (_, step) => batchDraws({ seed: 1, step }, listed, 8).compression),
  );
  assert.deepEqual([...found].sort(), [2, 4]);
});

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(
    `colar: a repeated step has the same bits, another step other draws (${architecture})`,
    async (gpu) => {
      const changes = {
        embed_modeling_loss: "nll",
        pred_embed_forward_weight: 1,
        entropy_weight: -0.1,
      } as const;
      using method = await tinyColar(gpu, changes, architecture);
      const rows = (await sixRows()).slice(0, 3);
      const run = async (step: number) => {
        using scope = gpu.scope();
        const g = new Graph(gpu, scope);
        for (const { tensor } of method.parameters) gpu.clear(tensor.gradient!);
        const { total } = method.loss(g, rows, { seed: 4, step, epoch: 0, progress: 0 });
        g.backward([total]);
        const numbers = [await gpu.read(total)];
        for (const { tensor } of method.parameters) numbers.push(await gpu.read(tensor.gradient!));
        return numbers;
      };
      const first = await run(3);
      assert.deepEqual(await run(3), first);
      assert.notDeepEqual(await run(4), first);
      assert.ok(first.every((numbers) => numbers.every(Number.isFinite)));
    },
  );

  gpuTest(`colar: an answer does not depend on the batch (${architecture})`, async (gpu) => {
    using method = await tinyColar(gpu, { eol_temperature: 3 }, architecture);
    await likeSeparator(gpu, method, architecture === "llama" ? 3 : -4);
    const rows = (await sixRows()).slice(1, 5);
    const questions = rows.map(({ question }, id) => ({ id: id + 10, question }));
    const counts = new Set<number>();
    for (const greedy of [true, false]) {
      for (const speed of greedy ? [2] as const : ["auto"] as const) {
        const options = { speed, greedy, seed: 2 };
        const together = await method.answer(questions, options);
        for (const [i, question] of questions.entries()) {
          assert.deepEqual(await method.answer([question], options), [together[i]]);
          assert.ok(together[i].reasoningLength >= 1 && together[i].reasoningLength <= 6);
          assert.equal(together[i].output, method.tokenizer.decode(together[i].ids));
          counts.add(together[i].reasoningLength);
        }
        const other = await method.answer(questions, { ...options, seed: 3 });
        assert.equal(JSON.stringify(other) === JSON.stringify(together), greedy);
      }
    }
    assert.ok(counts.size > 1, `rows stop at different latents: ${[...counts]}`);
    assert.deepEqual(await method.answer([], { speed: 2, greedy: true, seed: 0 }), []);
  });
}

/** Makes `###` likely after a latent, so that thinking ends at different lengths. */
async function likeSeparator(gpu: Gpu, { backbone, tokenizer }: Colar, factor: number) {
  const table = await gpu.read(backbone.embeddings);
  const D = backbone.hiddenSize;
  const at = tokenizer.separatorId * D;
  for (let i = at; i < at + D; i++) table[i] *= factor;
  gpu.write(backbone.embeddings, table);
}

gpuTest("colar: do_sample=False answers as greedy does, whatever the protocol", async (gpu) => {
  using method = await tinyColar(gpu, { do_sample: false });
  const questions = (await sixRows()).slice(0, 2).map(({ question }, id) => ({ id, question }));
  const greedy = await method.answer(questions, { speed: 5, greedy: true, seed: 0 });
  assert.deepEqual(await method.answer(questions, { speed: 5, greedy: false, seed: 9 }), greedy);
});

gpuTest("colar: each switch changes what it names, and nothing else", async (gpu) => {
  const run = async (changes: Parameters<typeof tinyColar>[1]) => {
    using method = await tinyColar(gpu, { ...c3, ...changes });
    return await losses(gpu, method);
  };
  const base = await run({});
  assert.deepEqual(Object.keys(base), ["total", "ce_loss", "embed_modeling_loss", "entropy"]);
  const close = (a: number, b: number) => Math.abs(a - b) <= 1e-5 * Math.abs(b);
  assert.ok(close(base.total, base.ce_loss + base.embed_modeling_loss));

  const released = await run({ layout: "as-released" });
  assert.notEqual(released.ce_loss, base.ce_loss);
  assert.notEqual(released.embed_modeling_loss, base.embed_modeling_loss);
  const masked = await run({ mask_separator_label: true });
  assert.notEqual(masked.ce_loss, base.ce_loss);
  assert.ok(close(masked.entropy, base.entropy), "the pad is seen by no other token");
  const answerOnly = await run({ pred_compressed_cot: false });
  assert.notEqual(answerOnly.ce_loss, base.ce_loss);
  assert.ok(close(answerOnly.entropy, base.entropy));
  const mean = await run({ sqrt_mean: false });
  assert.notEqual(mean.ce_loss, base.ce_loss);
  const nll = await run({ embed_modeling_loss: "nll" });
  assert.equal(nll.ce_loss, base.ce_loss);
  assert.notEqual(nll.embed_modeling_loss, base.embed_modeling_loss);
  const weighted = await run({ ce_weight: 0.5, embed_modeling_weight: 2, entropy_weight: -1 });
  const expected = 0.5 * base.ce_loss + 2 * base.embed_modeling_loss - base.entropy;
  assert.ok(close(weighted.total, expected), `${weighted.total} and ${expected}`);
  const point = await run({ lp_deterministic: true });
  assert.ok(close(point.entropy, 0.5 * Math.log(2 * Math.PI * Math.E) + Math.log(1e-9)));
  const auto = await run({ replace_r_with_auto_prob: 1 });
  assert.notEqual(auto.ce_loss, base.ce_loss);

  const second = await run({ pred_embed_forward_weight: 2 });
  const extra = second.pred_embed_forward_loss;
  assert.ok(close(second.total, base.total + 2 * extra));
  const clean = { pred_embed_forward_weight: 2 };
  const others: number[] = [extra];
  for (const key of ["second_pass_scale", "second_pass_index", "second_pass_labels"] as const) {
    const changed = await run({ ...clean, [key]: RELEASED[key] });
    assert.equal(changed.ce_loss, base.ce_loss, key);
    others.push(changed.pred_embed_forward_loss);
  }
  assert.equal(new Set(others).size, 4, `each is another second pass: ${others}`);
});

gpuTest("colar: at c = 1 both layouts are the same", async (gpu) => {
  const c1 = { max_compression_factor: 1 };
  using clean = await tinyColar(gpu, c1);
  using released = await tinyColar(gpu, { ...c1, layout: "as-released" });
  assert.deepEqual(await losses(gpu, clean), await losses(gpu, released));
});

gpuTest("colar: without weights there is nothing to train", async (gpu) => {
  await assert.rejects(tinyColar(gpu, { ce_weight: 0, embed_modeling_weight: 0 }), {
    name: "RangeError",
    message: "ce_weight, embed_modeling_weight, entropy_weight and pred_embed_forward_weight are " +
      "all 0: there is nothing to train; set one of them",
  });
});

gpuTest(
  "colar: the default export measures embeds_std and trains backbone and head",
  async (gpu) => {
    const tokenizer = await methodsTokenizer();
    const backbone = await tinyBackbone(gpu);
    const context = {
      gpu,
      backbone,
      tokenizer,
      options: { ...colarOptions({ do_lora: false }), embeds_std: "auto" as const },
      reasoningLength: "exact" as const,
      seed: 1,
    };
    await assert.rejects(create(context), {
      name: "TypeError",
      message: /: call addPadRow first$/,
    });
    await addPadRow(backbone, tokenizer, 1);
    using method = await create(context);
    assert.ok(method instanceof Colar);
    assert.ok(Math.abs(method.embedsStd - 0.2) < 0.01, `${method.embedsStd}`);
    assert.deepEqual(method.speeds, [5]);
    const names = method.parameters.map(({ name }) => name);
    assert.ok(names.includes("llm.model.layers.0.mlp.up_proj.weight"));
    assert.equal(names.includes("llm.model.embed_tokens.weight"), false);
    assert.equal(names.at(-1), "latent_policy.log_std.bias");
  },
);

gpuTest(
  "colar: frozen or not, the embeddings are no target that the loss could move",
  async (gpu) => {
    using method = await tinyColar(gpu, {
      do_lora: false,
      freeze_embeddings: false,
      ce_weight: 0,
      ...c3,
    });
    const [embeddings] = method.parameters;
    assert.equal(embeddings.name, "llm.model.embed_tokens.weight");
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    // One row whose last groups are targets only: the answer's ### is the last target and an input behind every latent.
    const rows = [{ question: "a", steps: [], answer: "1" }];
    const draw = { seed: 1, step: 0, epoch: 0, progress: 0 };
    g.backward([method.loss(g, rows, draw).total]);
    const gradient = await gpu.read(embeddings.tensor.gradient!);
    const [D, eos] = [method.backbone.hiddenSize, method.tokenizer.eosId];
    assert.ok(gradient.subarray(eos * D, (eos + 1) * D).every((x) => x === 0));
    assert.ok(gradient.some((x) => x !== 0), "the first pass is trained through its inputs");
  },
);
