/**
 * CoLaR, supervised stage and thinking: steps are compressed by a factor c into latents, which the model predicts
 * instead of writing text. How reinforcement samples it is in colar_policy.ts.
 *
 *   c ~ U{1..max} once a batch;  row  [question (Thinking speed: c)] [groups of ### steps] [### Answer:a eos]
 *   group    e_j = sum of its token embeddings / (sqrt(their number) + 1e-5);  its label: one of its tokens, drawn
 *   ce       mean of -log p(label of token t | tokens before t) over groups and answer
 *   head     N(mean, std) over e_{j+1} / embeds_std from the hidden state at group j (the answer's ### after the last)
 *   mse      mean of (mean + std eps - e_{j+1} / embeds_std)^2;   nll: mean of -log N(e_{j+1} / embeds_std)
 *   second   with samples in the groups' places: -log p of the answer
 *   total    ce_weight ce + embed_modeling_weight (mse or nll) + entropy_weight H + pred_embed_forward_weight second
 *   answer   question (Thinking speed: c) ### -> latents until the next token is ### -> ### -> text to eos
 *
 * Source: Tan et al., Think Silently, Think Fast, arXiv 2505.16552; the published CoLaR code (models/colar.py: forward,
 * models/model_base.py: latent_generate).
 *
 * **Deviations.** Rows are packed without the pads that nothing uses. `corrected`: rows end in a real group (`layout`,
 * A14); the second pass feeds samples times embeds_std, each after the token that predicted it, and supervises the answer
 * alone (`second_pass_*`, A17); `###` is tokenised alone (`separator_tokens`); answers without top-k and [PAD] (`top_k`,
 * `pad_in_answer`). In both profiles: the answer continues the cache of the latents (B3), pred_compressed_cot is read (C1),
 * embeds_std of unknown models is measured, draws are keyed by question and position (C11).
 */
import type { Graph } from "../autograd/tape.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Tokenizer } from "../data/prompt.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone } from "../llm/backbone.ts";
import { packRows } from "../llm/tokens.ts";
import { scale, sum } from "../ops/add.ts";
import { compress } from "../ops/compress.ts";
import { concat } from "../ops/concat.ts";
import { embedding } from "../ops/embedding.ts";
import { gaussianEntropy, gaussianNll, sampleGaussian } from "../ops/gaussian.ts";
import { gather } from "../ops/gather.ts";
import { mse } from "../ops/mse.ts";
import { type ColarBatch, type LatentPlace, layBatch, layoutOf } from "./colar_batch.ts";
import { type BatchDraws, batchDraws } from "./colar_draws.ts";
import { checkWeights, type ColarOptions } from "./colar_options.ts";
import { ColarPolicy } from "./colar_policy.ts";
import { thinkingSpeeds } from "./compression.ts";
import { embedsStd } from "./embeds_std.ts";
import { languageLoss } from "./language_loss.ts";
import { latentAnswers, latentTraces } from "./latent_generate.ts";
import { type Gaussian, LatentHead } from "./latent_head.ts";
import type {
  Answer,
  AnswerOptions,
  CreateMethod,
  Losses,
  Method,
  MethodContext,
  Question,
  ThinkingSpeed,
  TracedAnswer,
  TraceOptions,
  TrainDraw,
  TrainedTensor,
} from "./method.ts";
import { checkVocabulary, trainBackbone, type Trained } from "./trained.ts";

/** Losses of a batch and what they were made of. */
export interface Supervised extends Losses, Gaussian {
  readonly batch: ColarBatch;
  /** What enters the first pass, [N, D], and the second. */
  readonly inputsEmbeds: Tensor;
  readonly secondInputsEmbeds: Tensor | undefined;
  /** Hidden states at the latents' places, [places, D]. */
  readonly states: Tensor;
}

/** The method; see the head of this file. */
export class Colar implements Method {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  readonly speeds: readonly ThinkingSpeed[];
  readonly head: LatentHead;
  readonly parameters: readonly TrainedTensor[];
  readonly options: ColarOptions;
  readonly policy: ColarPolicy | undefined;
  #trained: Trained;

  /** @param embedsStd scale of the token embeddings */
  constructor(context: MethodContext<ColarOptions>, readonly embedsStd: number) {
    const { gpu, backbone, tokenizer, options, seed } = context;
    checkVocabulary(backbone, tokenizer);
    checkWeights(options);
    this.backbone = backbone;
    this.tokenizer = tokenizer;
    this.options = options;
    this.speeds = thinkingSpeeds(options.latent_generation_config.compression_factor);
    this.#trained = trainBackbone(backbone, options, seed);
    this.head = new LatentHead(gpu, {
      hiddenSize: backbone.hiddenSize,
      intermediateSize: options.latent_policy_config.lp_intermediate_size,
      deterministic: options.latent_policy_config.lp_deterministic,
      seed,
    });
    this.parameters = [...this.#trained.parameters, ...this.head.parameters];
    this.policy = options.do_rl ? new ColarPolicy(this) : undefined;
  }

  loss(g: Graph, rows: readonly QsaRow[], draw: TrainDraw): Supervised {
    const { backbone, options } = this;
    const draws = batchDraws(draw, options.latent_cot_config, backbone.hiddenSize);
    return this.supervisedLoss(g, rows, draws);
  }

  /** The losses of a batch whose draws are given. */
  supervisedLoss(g: Graph, rows: readonly QsaRow[], draws: BatchDraws): Supervised {
    const { backbone, embedsStd } = this;
    const config = this.options.latent_cot_config;
    const hasSecond = config.pred_embed_forward_weight > 0;
    const batch = layBatch(this.tokenizer, rows, { ...draws, ...layoutOf(config) });
    const plain = embedding(g, backbone.embeddings, batch.plainIds);
    const pooledTokens = embedding(g, backbone.embeddings, batch.pooledIds);
    const groups = batch.groupOffsets;
    const pooled = compress(g, pooledTokens, groups, { sqrtMean: config.sqrt_mean });
    const inputsEmbeds = gather(g, concat(g, [plain, pooled]), batch.first.sources); // [N, D]
    const tokens = packRows(g.scope, batch.first.rows);
    const { hidden } = backbone.forward(g, inputsEmbeds, tokens);
    const ce = languageLoss(g, backbone, hidden, batch.first.labels);

    const states = gather(g, hidden, Uint32Array.from(batch.latents, ({ token }) => token));
    const { mean, logStd } = this.head.forward(g, states); // [places, D]
    const following = Uint32Array.from(batch.latents, ({ token }) => token + 1);
    const target = scale(g, gather(g, g.stopGradient(inputsEmbeds), following), 1 / embedsStd);
    const needsSample = hasSecond || config.embed_modeling_loss === "mse";
    const sample = needsSample
      ? sampleGaussian(g, mean, logStd, draws.eps(g, batch.latents))
      : undefined;
    const counted = groupWeights(g, batch.latents);
    const latent = config.embed_modeling_loss === "mse"
      ? mse(g, sample!, target, counted)
      : gaussianNll(g, mean, logStd, target, counted);
    const entropy = gaussianEntropy(g, logStd, counted);
    const second = batch.second && this.#secondPass(g, batch, [plain, pooled, sample!]);

    const terms = [
      { x: ce, weight: config.ce_weight },
      { x: latent, weight: config.embed_modeling_weight },
      { x: entropy, weight: config.entropy_weight },
      ...(second ? [{ x: second.loss, weight: config.pred_embed_forward_weight }] : []),
    ].filter(({ weight }) => weight !== 0);
    return {
      total: sum(g, terms),
      parts: {
        ce_loss: ce,
        embed_modeling_loss: latent,
        entropy,
        ...(second ? { pred_embed_forward_loss: second.loss } : {}),
      },
      numTokens: batch.first.sources.length + (batch.second?.sources.length ?? 0),
      batch,
      inputsEmbeds,
      secondInputsEmbeds: second?.inputsEmbeds,
      states,
      mean,
      logStd,
    };
  }

  /** The language loss over samples instead of groups; its gradient flows through them into head and first pass. */
  #secondPass(g: Graph, batch: ColarBatch, [plain, pooled, sample]: readonly Tensor[]) {
    const { rows, sources, labels } = batch.second!;
    const isNormalised = this.options.latent_cot_config.second_pass_scale === "as-released";
    const latents = isNormalised ? sample : scale(g, sample, this.embedsStd);
    const inputsEmbeds = gather(g, concat(g, [plain, pooled, latents]), sources);
    const { hidden } = this.backbone.forward(g, inputsEmbeds, packRows(g.scope, rows));
    return { inputsEmbeds, loss: languageLoss(g, this.backbone, hidden, labels) };
  }

  answer(questions: readonly Question[], options: AnswerOptions): Promise<Answer[]> {
    return latentAnswers(this, questions, options);
  }

  trace(questions: readonly Question[], options: TraceOptions): Promise<TracedAnswer[]> {
    return latentTraces(this, questions, options);
  }

  [Symbol.dispose](): void {
    this.#trained[Symbol.dispose]();
    this.head[Symbol.dispose]();
  }
}

/** Weight 1 for groups and 0 for pads; none where all are groups. */
function groupWeights(g: Graph, places: readonly LatentPlace[]) {
  const weights = Float32Array.from(places, ({ isGroup }) => isGroup ? 1 : 0);
  const total = weights.reduce((a, b) => a + b, 0);
  return total === places.length ? undefined : { weights: g.scope.upload(weights), total };
}

const create: CreateMethod<ColarOptions> = async (context) => {
  const { backbone, tokenizer, options } = context;
  const scale = await embedsStd(backbone, options.embeds_std, options.model_id, tokenizer.padId);
  return new Colar(context, scale);
};
export default create;
