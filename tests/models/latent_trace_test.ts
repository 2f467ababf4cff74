/** What is kept of latents: the numbers that a pass over prompt and latents gives, and the same answers. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { promptIds } from "../../data/prompt.ts";
import type { Gpu } from "../../gpu/device.ts";
import { packRows } from "../../llm/tokens.ts";
import { blockOutputs } from "../../models/latent_trace.ts";
import type { Method, TracedAnswer } from "../../models/method.ts";
import { concat } from "../../ops/concat.ts";
import { embedding } from "../../ops/embedding.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { tinyCodi, tinyDistill } from "./tiny_distillation.ts";
import { sixRows, tinyColar, tinyCot } from "./tiny_method.ts";
import { tinyCoconut, tinyIcot } from "./tiny_stages.ts";

const LAYERS = [1, 2];
const ASKED = { speed: 5, greedy: false, seed: 4 } as const;

const questions = async () =>
  (await sixRows()).slice(0, 3).map(({ question }, id) => ({ id, question }));

/** The outputs of the blocks where latents stand, from one pass over the prompt and the latents that were kept. */
async function recomputed(gpu: Gpu, method: Method, question: string, answer: TracedAnswer) {
  const { backbone, tokenizer } = method;
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const prompt = promptIds(tokenizer, question, ASKED.speed);
  const D = backbone.hiddenSize;
  const latents = scope.upload(answer.trace.latents, [answer.reasoningLength, D]);
  const x = concat(g, [embedding(g, backbone.embeddings, Uint32Array.from(prompt)), latents]);
  const tokens = packRows(scope, [{ length: prompt.length + answer.reasoningLength }]);
  const pass = backbone.forward(g, x, tokens, { hiddenStates: true });
  const outputs: Float32Array[] = [];
  for (const tensor of blockOutputs(backbone, pass, LAYERS)) {
    outputs.push((await gpu.read(tensor) as Float32Array).slice(prompt.length * D));
  }
  return outputs;
}

const METHODS: readonly [string, (gpu: Gpu) => Promise<Method>][] = [
  ["colar", (gpu) => tinyColar(gpu, { max_n_latent_forward: 6 })],
  ["coconut", (gpu) => tinyCoconut(gpu)],
  [
    "coconut whose latents see only themselves",
    (gpu) => tinyCoconut(gpu, { cache_in_latent_loop: false }),
  ],
  [
    "coconut that decides",
    (gpu) => tinyCoconut(gpu, { n_latent_forward: null, max_n_latent_forward: 5 }),
  ],
  ["distill", (gpu) => tinyDistill(gpu)],
  ["codi", (gpu) => tinyCodi(gpu)],
];
for (const [name, make] of METHODS) {
  gpuTest(`trace: ${name}: hidden states are those of its latents, answers stay`, async (gpu) => {
    using method = await make(gpu);
    const asked = await questions();
    const traced = await method.trace!(asked, { ...ASKED, layers: LAYERS });
    const plain = await method.answer(asked, ASKED);
    assert.deepEqual(traced.map(({ trace: _, ...answer }) => answer), plain);
    for (const [i, answer] of traced.entries()) {
      const { trace, reasoningLength } = answer;
      assert.equal(trace.latents.length, reasoningLength * method.backbone.hiddenSize);
      const outputs = await recomputed(gpu, method, asked[i].question, answer);
      LAYERS.forEach((layer, k) =>
        assertClose(trace[`hidden.${layer}`], outputs[k], 2e-4, `layer ${layer} of question ${i}`)
      );
    }
    const names = Object.keys(traced[0].trace);
    const gaussian = name === "colar" ? ["mean", "sigma"] : [];
    const decided = /^colar$|decides/.test(name) ? ["stop_log_prob"] : [];
    assert.deepEqual(names, ["latents", ...gaussian, ...decided, "hidden.1", "hidden.2"]);
    for (const { trace, reasoningLength } of decided.length > 0 ? traced : []) {
      assert.equal(trace.stop_log_prob.length, reasoningLength);
      assert.ok(trace.stop_log_prob.every((p) => p < 0 && p > -100));
    }
  });
}

gpuTest(
  "trace: CoLaR's mean is what is fed greedily, and ### is as likely as said",
  async (gpu) => {
    using method = await tinyColar(gpu, { n_latent_forward: 3 });
    const [{ trace }] = await method.trace(await questions(), {
      ...{ ...ASKED, greedy: true, layers: [2] },
    });
    const D = method.backbone.hiddenSize;
    const scaled = trace.mean.map((x) => x * method.embedsStd);
    assertClose(trace.latents, scaled, 1e-6, "latents");
    assert.ok(trace.sigma.every((sigma) => sigma > 0));
    const head = await gpu.read(method.backbone.head);
    const numTokens = method.backbone.head.shape[0];
    const expected = [0, 1, 2].map((n) => {
      const logits = Array.from({ length: numTokens }, (_, v) => {
        let sum = 0;
        for (let d = 0; d < D; d++) sum += trace["hidden.2"][n * D + d] * head[v * D + d];
        return sum;
      });
      const most = Math.max(...logits);
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
      return logits[method.tokenizer.separatorId] - most - Math.log(total);
    });
    assertClose(trace.stop_log_prob, Float32Array.from(expected), 1e-4, "stop_log_prob");
    // Drawn latents are off their mean by about sigma.
    const [drawn] = await method.trace(await questions(), { ...ASKED, layers: [] });
    const { latents, mean, sigma } = drawn.trace;
    const z = latents.map((x, i) => (x / method.embedsStd - mean[i]) / sigma[i]);
    const spread = Math.sqrt(z.reduce((sum, x) => sum + x * x, 0) / z.length);
    assert.ok(Math.abs(spread - 1) < 0.3, `${spread}`);
  },
);

gpuTest("trace: an unprojected latent is the hidden state before it", async (gpu) => {
  using method = await tinyCoconut(gpu);
  const [{ trace }] = await method.trace(await questions(), { ...ASKED, layers: [2] });
  const D = method.backbone.hiddenSize;
  assert.deepEqual(trace["hidden.2"].slice(0, -D), trace.latents.slice(D));
});

gpuTest(
  "trace: methods without latents have none, and a block that is not there is named",
  async (gpu) => {
    using cot = await tinyCot(gpu);
    using icot = await tinyIcot(gpu);
    assert.deepEqual([(cot as Method).trace, (icot as Method).trace], [undefined, undefined]);
    using method = await tinyCoconut(gpu);
    const asked = await questions();
    for (const layer of [0, 3, 1.5]) {
      await assert.rejects(method.trace(asked, { ...ASKED, layers: [layer] }), {
        name: "RangeError",
        message: `latent_layers must be integers from 1 to 2, got ${layer}`,
      });
    }
  },
);

gpuTest("trace: an error in the latent loop gives its memory back", async (gpu) => {
  using method = await tinyColar(gpu, { max_n_latent_forward: 6 });
  const asked = await questions();
  const inUse: number[] = [];
  for (let i = 0; i < 2; i++) {
    const message = "latent_layers must be integers from 1 to 2, got 3";
    await assert.rejects(method.trace(asked, { ...ASKED, layers: [3] }), { message });
    inUse.push(gpu.pool.memory.inUse);
  }
  assert.equal(inUse[1], inUse[0]);
});
