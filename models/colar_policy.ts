/**
 * CoLaR as a policy that reinforcement trains: what it samples, and the log-probabilities of what it sampled.
 *
 *   row        [question (Thinking speed: c) ###] [z_1 .. z_n] [### a_1 .. a_m], n latents and the answer's tokens
 *   latent     mean (or sum) over D of log N(z_i / embeds_std; mean, std) from the hidden state before z_i
 *   answer     log p(a_t | row before it); as released also log p(### | ... z_n)
 *   decision   log(1 - p(### | ... z_i)) for i < n, log p(### | ... z_n): whether to go on thinking
 *
 * All are of the whole distributions at temperature 1, with whatever temperature the rollout drew. The rollout keeps
 * what it computed on the way, so that the old log-probabilities cost no pass of their own.
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
import { compressionFactors, thinkingSpeeds } from "./compression.ts";
import { STREAMS } from "./draws.ts";
import {
  type AnswerDraws,
  type LatentAnswer,
  latentGenerate,
  type Thinker,
} from "./latent_generate.ts";
import type { Latent } from "./latent_trace.ts";
import type { Policy, PolicyLogProbs, Rollout, SampleDraw, ThinkingSpeed } from "./method.ts";
import { keyedDraws } from "./thinking.ts";

/** What samples: a thinker with the options of its reinforcement. */
export interface ReinforcedThinker extends Thinker {
  readonly options: Thinker["options"] & {
    readonly latent_cot_config: {
      readonly max_compression_factor: number | string | readonly number[];
    };
    readonly latent_generation_config: {
      readonly compression_factor: number | string | readonly ThinkingSpeed[];
    };
    readonly rl_config: ReinforcementOptions;
  };
}

/** One sampled row. */
export interface ColarRollout extends Rollout {
  /** Question and `###`. */
  readonly prompt: readonly number[];
  /** Latents as fed, [n, D] laid end to end. */
  readonly embeds: Float32Array;
  /** 1 where thinking ended, 0 where it went on: one for each decision that was made, [n - 1 or n], or none at all. */
  readonly decisions: readonly number[];
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
    const asked = questions.map((question, i) => ({ id: sampleIds[i], question }));
    const answers = await latentGenerate(this.thinker, asked, {
      ...{ seed, speeds, speed: speeds[0], greedy: false, trace: true },
      recorded: recorded ?? this.#draws(draw),
    });
    return answers.map((answer, i) =>
      this.#keep(promptIds(tokenizer, questions[i], speeds[i]), answer)
    );
  }

  logProbs(g: Graph, rollouts: readonly ColarRollout[]): PolicyLogProbs {
    const { backbone, tokenizer: { separatorId, padId }, head, embedsStd } = this.thinker;
    const D = backbone.hiddenSize;
    const ids = rollouts.flatMap((
      { prompt, answer },
    ) => [...prompt, ...inputsOf(answer, separatorId)]);
    const numLatents = rollouts.reduce((sum, { embeds }) => sum + embeds.length / D, 0);
    const fed = new Float32Array(numLatents * D);
    const sources: number[] = [];
    const visible: number[][] = [];
    const latent = places(), answers = places(), decisions = places();
    let [plain, drawn] = [0, ids.length]; // rows of [plain; latents] that the next tokens are
    for (const { prompt, embeds, answer, decisions: made } of rollouts) {
      const [q, n] = [prompt.length, embeds.length / D];
      const first = sources.length + q; // the packed token that z_1 is
      const written = inputsOf(answer, separatorId);
      fed.set(embeds, (drawn - ids.length) * D);
      for (const _ of prompt) sources.push(plain++);
      for (let i = 0; i < n; i++) sources.push(drawn++);
      for (const _ of written) sources.push(plain++);
      visible.push([...Array<number>(q + n).fill(1), ...written.map((id) => id === padId ? 0 : 1)]);
      add(latent, range(n).map((i) => [first + i - 1, 0]));
      add(decisions, made.map((_, i) => [first + i, separatorId]));
      add(answers, this.#labels(answer.ids).map(([at, id]) => [first + n + at, id]));
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

  /** What of an answer is kept, with the log-probabilities that the rollout computed on the way. */
  #keep(prompt: readonly number[], answered: LatentAnswer): ColarRollout {
    const { output, ids, reasoningLength, thought: { latents, stopped } } = answered;
    const { backbone: { hiddenSize: D }, options, tokenizer: { padId } } = this.thinker;
    const embeds = new Float32Array(latents.length * D);
    latents.forEach((latent, i) => embeds.set(latent.embeds, i * D));
    const { n_latent_forward, max_n_latent_forward: limit } = options.latent_generation_config;
    const continued = Array<number>(latents.length - 1).fill(0);
    // At the limit thinking ends whatever is drawn.
    const ended = stopped && latents.length < limit ? [1] : [];
    const decisions = n_latent_forward === null ? [...continued, ...ended] : [];
    const kept = { answer: { output, ids, reasoningLength }, prompt, embeds, decisions };
    if (ids.includes(padId)) return kept;
    const separator = latents.map((latent) => latent.separatorLogProb);
    const answer = this.#labels(ids).map(([at]) =>
      at < 0 ? separator.at(-1)! : answered.logProbs[at]
    );
    const all: Record<string, number[]> = {
      latent: latents.map((latent) => this.#gaussian(latent)),
      answer,
      decision: decisions.map((end, i) => end ? separator[i] : logRest(separator[i])),
    };
    const parts = this.parts.map((part) => [part, Float32Array.from(all[part])] as const);
    return { ...kept, logProbs: Object.fromEntries(parts) };
  }

  /** Where the answer's log-probabilities are read, counted from its `###`, and the ids that they are of. */
  #labels(ids: readonly number[]): [at: number, id: number][] {
    const { separatorId, padId } = this.thinker.tokenizer;
    const written = ids.map((id, t): [number, number] => [t, id]).filter(([, id]) => id !== padId);
    return this.#options.continue_decisions ? written : [[-1, separatorId], ...written];
  }

  /** Log-density of a latent as it was drawn, in float64. */
  #gaussian({ embeds, mean, logStd }: Latent): number {
    let sum = 0;
    embeds.forEach((fed, d) => {
      const z = (fed / this.thinker.embedsStd - mean[d]) * Math.exp(-logStd[d]);
      sum -= 0.5 * z * z + logStd[d] + 0.5 * Math.log(2 * Math.PI);
    });
    return this.#options.latent_logprob === "sum" ? sum : sum / embeds.length;
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

/** What is fed after the latents: `###` and the answer but its last token, from which nothing is predicted. */
function inputsOf({ ids }: { readonly ids: readonly number[] }, separatorId: number): number[] {
  return [separatorId, ...ids.slice(0, -1)];
}

/** log(1 - p) of log p, as ops/bernoulli.ts computes it. */
function logRest(logProb: number): number {
  return Math.log(Math.max(-Math.expm1(logProb), 2 ** -24));
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
