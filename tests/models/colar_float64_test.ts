/**
 * CoLaR's supervised losses against a float64 recomputation of whole rows: values, and gradients by central differences,
 * those through the samples of the second pass included.
 */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { colarAnswerIds, colarStepsIds, questionIds } from "../../data/prompt.ts";
import type { Colar } from "../../models/colar.ts";
import type { BatchDraws } from "../../models/colar_draws.ts";
import { gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";
import { compress } from "../reference/compress.ts";
import { gaussianEntropy, gaussianLogProb, sampleGaussian } from "../reference/gaussian.ts";
import { geluErf } from "../reference/gelu.ts";
import { layerNorm } from "../reference/layer_norm.ts";
import { linear } from "../reference/linear.ts";
import { squaredError } from "../reference/mse.ts";
import {
  compareGradients,
  compareLosses,
  join,
  mean,
  type Numbers,
  randomised,
  referenceOf,
} from "./float64_method.ts";
import { tinyColar } from "./tiny_method.ts";

const C = 3;

/** Rows of equally many groups, so that none has pads; their last groups have two tokens and three. */
const ROWS = [
  { question: "How many?", steps: ["<<2*3=6>>"], answer: "6" },
  { question: "a", steps: ["<<12+3=15>>"], answer: "-5" },
];

/** Which token of a group is its label. */
const labelChoice = (row: number, column: number, size: number) => (row + column) % size;

/** `###` alone, then C tokens a group. */
function groupsOf([separator, ...rest]: readonly number[]): number[][] {
  const count = Math.ceil(rest.length / C);
  return [[separator], ...Array.from({ length: count }, (_, i) => rest.slice(C * i, C * (i + 1)))];
}

/** Mean and log_std over the next embedding, of hidden states [m, D]. */
function head(numbers: Numbers, states: Float64Array, D: number) {
  const layer = (name: string, x: Float64Array, k: number) => {
    const weight = numbers.get(`latent_policy.${name}.weight`)!;
    const bias = numbers.get(`latent_policy.${name}.bias`)!;
    return linear({ x, weight, bias, m: x.length / k, n: bias.length, k });
  };
  const F = numbers.get("latent_policy.fc.0.bias")!.length;
  const inner = layer("fc.2", geluErf(layer("fc.0", states, D)), F);
  const [weight, bias] = ["weight", "bias"].map((part) =>
    numbers.get(`latent_policy.fc.3.${part}`)!
  );
  const h = layerNorm(inner, weight, bias, 1e-5);
  return { mean: layer("mean", h, F), logStd: layer("log_std", h, F) };
}

/** The losses by the formulas of colar.ts, in the clean layout, which without pads is that of each row alone. */
function referenceLosses(
  { backbone, tokenizer, embedsStd, options }: Colar,
  numbers: Numbers,
  eps: Float64Array,
) {
  const D = backbone.hiddenSize;
  const config = options.latent_cot_config;
  const { embed, states, surprise } = referenceOf(backbone, numbers);
  const [ce, latent, entropy, second] = [0, 1, 2, 3].map(() => [] as number[]);
  let numPlaces = 0;
  for (const [row, { question, steps, answer }] of ROWS.entries()) {
    const q = questionIds(tokenizer, question, C);
    const groups = groupsOf(colarStepsIds(tokenizer, steps));
    const a = colarAnswerIds(tokenizer, answer);
    const G = groups.length;
    const pooled = groups.map((ids) => compress(embed(ids), D, [0, ids.length], true));
    const x = join(embed(q), ...pooled, embed(a));
    const first = states(x);
    const labels = groups.map((ids, column) => ids[labelChoice(row, column, ids.length)]);
    ce.push(...surprise(first, q.length, [...labels, ...a]));

    const { mean, logStd } = head(
      numbers,
      first.at(-1)!.slice(q.length * D, (q.length + G) * D),
      D,
    );
    const noise = eps.slice(numPlaces * D, (numPlaces += G) * D);
    const sample = sampleGaussian(mean, logStd, noise, 1);
    const target = x.slice((q.length + 1) * D, (q.length + 1 + G) * D).map((e) => e / embedsStd);
    latent.push(
      ...config.embed_modeling_loss === "mse"
        ? squaredError(sample, target, G)
        : gaussianLogProb(mean, logStd, target, G).map((logProb) => -logProb / D),
    );
    entropy.push(...gaussianEntropy(logStd, G));

    const fed = sample.slice(0, (G - 1) * D).map((z) => z * embedsStd);
    const sampled = join(embed(q), embed([tokenizer.separatorId]), fed, embed(a));
    second.push(...surprise(states(sampled), q.length + G, a));
  }
  const parts = {
    ce_loss: mean(ce),
    embed_modeling_loss: mean(latent),
    entropy: mean(entropy),
    pred_embed_forward_loss: mean(second),
  };
  const total = config.ce_weight * parts.ce_loss +
    config.embed_modeling_weight * parts.embed_modeling_loss +
    config.entropy_weight * parts.entropy +
    config.pred_embed_forward_weight * parts.pred_embed_forward_loss;
  return { ...parts, total };
}

for (const architecture of ["llama", "gpt2"] as const) {
  for (const embed_modeling_loss of ["nll", "mse"] as const) {
    gpuTest(
      `colar: ${embed_modeling_loss} and second pass have the gradients of float64 (${architecture})`,
      async (gpu) => {
        const weights = { pred_embed_forward_weight: 2, entropy_weight: -0.3 };
        using method = await tinyColar(gpu, { embed_modeling_loss, ...weights }, architecture);
        const numbers = await randomised(gpu, method);
        using scope = gpu.scope();
        const g = new Graph(gpu, scope);
        const D = method.backbone.hiddenSize;
        const noise = (numPlaces: number) => normals(11, numPlaces * D);
        const draws: BatchDraws = {
          compression: C,
          speed: C,
          labelChoice,
          eps: (_, places) => scope.upload(noise(places.length), [places.length, D]),
        };
        const { total, parts, batch } = method.supervisedLoss(g, ROWS, draws);
        const visible = batch.first.rows.flatMap((row) => Array.from(row.visible!));
        assert.ok(visible.every((v) => v === 1) && batch.latents.every((at) => at.isGroup), "pads");
        const eps = Float64Array.from(noise(batch.latents.length));
        const expected = () => referenceLosses(method, numbers, eps);
        await compareLosses(gpu, { ...parts, total }, expected());
        g.backward([total]);
        await compareGradients(gpu, method, numbers, () => expected().total, 2);
      },
    );
  }
}
