/**
 * CoLaR as a policy that reinforcement trains: what it samples, and the log-probabilities of what it sampled.
 *
 *   row        [question (Thinking speed: c) ###] [z_1 .. z_n] [### a_1 .. a_m], n latents and the answer's tokens
 *   latent     mean (or sum) over D of log N(z_i / embeds_std; mean, std) from the hidden state before z_i
 *   answer     log p(a_t | row before it); as released also log p(### | ... z_n)
 *   decision   log(1 - p(### | ... z_i)) for i < n, log p(### | ... z_n): whether to go on thinking
 *
 * All are of the whole distributions at temperature 1, with whatever temperature the rollout drew. What a rollout keeps is
 * in colar_rollout.ts.
 *
 * Source: the published CoLaR code (models/colar.py: rl_training_step, get_logprobs), arXiv 2505.16552, section 3.3.
 *
 * **Deviations.** `continue_decisions` (A21): every decision counts, not only the `###` that ended thinking, and one that
 * the limit made counts nothing. `random_speed_in_group` is read (C1). Rows are packed. Where [PAD] was drawn inside an
 * answer (`pad_in_answer`, B18) it is no part of the row, as published, and the old log-probabilities are computed anew.
 */
import type { Graph } from "../autograd/tape.ts";
import { promptIds } from "../data/prompt.ts";
import { packRows } from "../llm/tokens.ts";
import { bernoulliLogProb } from "../ops/bernoulli.ts";
import { concat } from "../ops/concat.ts";
import { logProbs } from "../ops/cross_entropy.ts";
import { embedding } from "../ops/embedding.ts";
import { gaussianLogProb } from "../ops/gaussian.ts";
import { gather } from "../ops/gather.ts";
import { rowKey, uniformOf } from "../ops/random.ts";
import type { ReinforcementOptions } from "./colar_options.ts";
import { compressionFactors, type SpeedSetting, thinkingSpeeds } from "./compression.ts";
import { STREAMS } from "./draws.ts";
import { answerInputs, answerLabels, type ColarRollout, keepRollout } from "./colar_rollout.ts";
import { type AnswerDraws, latentGenerate, type Thinker } from "./latent_generate.ts";
import type { Policy, PolicyLogProbs, SampleDraw, ThinkingSpeed } from "./method.ts";
import { keyedDraws } from "./thinking.ts";

/** What samples: a thinker with the options of its reinforcement. */
export interface ReinforcedThinker extends Thinker {
  readonly options: Thinker["options"] & {
    readonly latent_cot_config: {
      readonly max_compression_factor: number | string | readonly number[];
    };
    readonly latent_generation_config: { readonly compression_factor: SpeedSetting };
    readonly rl_config: ReinforcementOptions;
  };
}

/** Where the log-probabilities of a part are read: packed tokens, and how many of each row. */
interface Places {
  readonly tokens: number[];
  readonly labels: number[];
  readonly lengths: number[];
}

/** The policy; see the head of this file. */
export class ColarPolicy implements Policy {
  readonly parts: readonly string[];
  #options: ReinforcementOptions;

  constructor(private readonly thinker: ReinforcedThinker) {
    this.#options = thinker.options.rl_config;
    const { use_latent_loss, use_answer_loss, continue_decisions } = this.#options;
    this.parts = [
      ...use_latent_loss ? ["latent"] : [],
      ...use_answer_loss ? ["answer"] : [],
      ...continue_decisions ? ["decision"] : [],
    ];
  }

  /**
   * Samples an answer to each question; equal questions share the pass over their prompt.
   * @param recorded draws instead of those that (seed, sample, position) key
   */
  async rollout(
    questions: readonly string[],
    draw: SampleDraw,
    recorded?: AnswerDraws,
  ): Promise<ColarRollout[]> {
    const { seed, sampleIds } = draw;
    const { tokenizer } = this.thinker;
    const speeds = sampleIds.map((id) => this.#speed(seed, id));
    const asked = questions.map((question, i) => ({
      ...{ id: sampleIds[i], question, speed: speeds[i] },
    }));
    const answers = await latentGenerate(this.thinker, asked, {
      ...{ seed, speed: speeds[0], greedy: false, trace: true },
      recorded: recorded ?? this.#draws(draw),
    });
    return answers.map((answer, i) =>
      keepRollout(
        this.thinker,
        this.parts,
        promptIds(tokenizer, questions[i], speeds[i]),
        answer,
      )
    );
  }

  logProbs(g: Graph, rollouts: readonly ColarRollout[]): PolicyLogProbs {
    const { backbone, tokenizer, head, embedsStd } = this.thinker;
    const { separatorId, padId } = tokenizer;
    const D = backbone.hiddenSize;
    const ids = rollouts.flatMap((
      { prompt, answer },
    ) => [...prompt, ...answerInputs(answer, separatorId)]);
    const numLatents = rollouts.reduce((sum, { embeds }) => sum + embeds.length / D, 0);
    const fed = new Float32Array(numLatents * D);
    const sources: number[] = [];
    const visible: number[][] = [];
    const latent = places(), answers = places(), decisions = places();
    let [plain, drawn] = [0, ids.length]; // rows of [plain; latents] that the next tokens are
    for (const { prompt, embeds, answer, decisions: made } of rollouts) {
      const [q, n] = [prompt.length, embeds.length / D];
      const first = sources.length + q; // the packed token that z_1 is
      const written = answerInputs(answer, separatorId);
      fed.set(embeds, (drawn - ids.length) * D);
      for (const _ of prompt) sources.push(plain++);
      for (let i = 0; i < n; i++) sources.push(drawn++);
      for (const _ of written) sources.push(plain++);
      visible.push([...Array<number>(q + n).fill(1), ...written.map((id) => id === padId ? 0 : 1)]);
      add(latent, range(n).map((i) => [first + i - 1, 0]));
      add(decisions, made.map((_, i) => [first + i, separatorId]));
      add(
        answers,
        answerLabels(tokenizer, this.#options, answer.ids).map(([at, id]) => [first + n + at, id]),
      );
    }
    const table = concat(g, [
      embedding(g, backbone.embeddings, Uint32Array.from(ids)),
      g.scope.upload(fed, [numLatents, D]),
    ]);
    const tokens = packRows(g.scope, visible.map((row) => ({ length: row.length, visible: row })));
    const x = gather(g, table, Uint32Array.from(sources));
    const { hidden } = backbone.forward(g, x, tokens);
    const labelled = ({ tokens, labels }: Places) =>
      logProbs(
        g,
        gather(g, hidden, Uint32Array.from(tokens)),
        backbone.head,
        Uint32Array.from(labels),
      );
    const gaussian = () => {
      const { mean, logStd } = head.forward(g, gather(g, hidden, Uint32Array.from(latent.tokens)));
      const value = g.scope.upload(fed.map((z) => z / embedsStd), [numLatents, D]);
      return gaussianLogProb(g, mean, logStd, value, this.#options.latent_logprob);
    };
    const outcomes = Uint32Array.from(rollouts.flatMap((rollout) => rollout.decisions));
    const all: Record<string, () => PolicyLogProbs["parts"][string]> = {
      latent: () => ({ logProbs: gaussian(), lengths: latent.lengths }),
      answer: () => ({ logProbs: labelled(answers), lengths: answers.lengths }),
      decision: () => ({
        logProbs: bernoulliLogProb(g, labelled(decisions), outcomes),
        lengths: decisions.lengths,
      }),
    };
    const parts = Object.fromEntries(this.parts.map((part) => [part, all[part]()]));
    return { parts, numTokens: sources.length };
  }

  #speed(seed: number, sampleId: number): ThinkingSpeed {
    const { latent_cot_config: trained, latent_generation_config: own } = this.thinker.options;
    if (!this.#options.random_speed_in_group) return thinkingSpeeds(own.compression_factor)[0];
    const factors = compressionFactors(trained.max_compression_factor);
    const uniform = uniformOf(rowKey(seed, STREAMS.rolloutSpeed, sampleId, 0));
    return factors[Math.floor(uniform * factors.length)];
  }

  #draws({ seed, sampleIds }: SampleDraw): AnswerDraws {
    const streams = { latent: STREAMS.rolloutLatent, stop: STREAMS.rolloutStop };
    return {
      thinking: keyedDraws(this.thinker.backbone.hiddenSize, seed, sampleIds, streams),
      text: { random: { seed, stream: STREAMS.rolloutAnswer, sampleIds } },
    };
  }
}

function places(): Places {
  return { tokens: [], labels: [], lengths: [] };
}

/** Adds one row's places. */
function add(to: Places, row: readonly (readonly number[])[]): void {
  for (const [token, label] of row) {
    to.tokens.push(token);
    to.labels.push(label);
  }
  to.lengths.push(row.length);
}

function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i);
}
