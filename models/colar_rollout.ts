/**
 * A row that CoLaR's policy sampled, with the log-probabilities that sampling computed on the way, so that the old ones
 * cost no pass of their own. What the parts are: colar_policy.ts.
 */
import type { Tokenizer } from "../data/prompt.ts";
import type { ReinforcementOptions } from "./colar_options.ts";
import type { LatentAnswer, Thinker } from "./latent_generate.ts";
import type { Latent } from "./latent_trace.ts";
import type { Rollout } from "./method.ts";

/** One sampled row. */
export interface ColarRollout extends Rollout {
  /** Question and `###`. */
  readonly prompt: readonly number[];
  /** Latents as fed, [n, D] laid end to end. */
  readonly embeds: Float32Array;
  /** 1 where thinking ended, 0 where it went on: one for each decision that was made, [n - 1 or n], or none at all. */
  readonly decisions: readonly number[];
}

/** What samples: a thinker with the options of its reinforcement. */
type Sampler = Thinker & { readonly options: { readonly rl_config: ReinforcementOptions } };

/**
 * What of an answer is kept.
 * @param parts those whose log-probabilities are kept: latent, answer, decision
 * @returns without log-probabilities where [PAD] was drawn: the row that is trained has no such token
 */
export function keepRollout(
  thinker: Sampler,
  parts: readonly string[],
  prompt: readonly number[],
  answered: LatentAnswer,
): ColarRollout {
  const { output, ids, reasoningLength, thought: { latents, stopped } } = answered;
  const { backbone: { hiddenSize: D }, options, tokenizer } = thinker;
  const embeds = new Float32Array(latents.length * D);
  latents.forEach((latent, i) => embeds.set(latent.embeds, i * D));
  const { n_latent_forward, max_n_latent_forward: limit } = options.latent_generation_config;
  const continued = Array<number>(latents.length - 1).fill(0);
  // At the limit thinking ends whatever is drawn.
  const ended = stopped && latents.length < limit ? [1] : [];
  const decisions = n_latent_forward === null ? [...continued, ...ended] : [];
  const kept = { answer: { output, ids, reasoningLength }, prompt, embeds, decisions };
  if (ids.includes(tokenizer.padId)) return kept;
  const separator = latents.map((latent) => latent.separatorLogProb);
  const answer = answerLabels(tokenizer, options.rl_config, ids).map(([at]) =>
    at < 0 ? separator.at(-1)! : answered.logProbs[at]
  );
  const all: Record<string, number[]> = {
    latent: latents.map((latent) => logDensity(thinker, latent)),
    answer,
    decision: decisions.map((end, i) => end ? separator[i] : logRest(separator[i])),
  };
  const logProbs = parts.map((part) => [part, Float32Array.from(all[part])] as const);
  return { ...kept, logProbs: Object.fromEntries(logProbs) };
}

/** Where the answer's log-probabilities are read, counted from its `###`, and the ids that they are of. */
export function answerLabels(
  { separatorId, padId }: Tokenizer,
  { continue_decisions }: ReinforcementOptions,
  ids: readonly number[],
): [at: number, id: number][] {
  const written = ids.map((id, t): [number, number] => [t, id]).filter(([, id]) => id !== padId);
  return continue_decisions ? written : [[-1, separatorId], ...written];
}

/** What is fed after the latents: `###` and the answer but its last token, from which nothing is predicted. */
export function answerInputs(
  { ids }: { readonly ids: readonly number[] },
  separatorId: number,
): number[] {
  return [separatorId, ...ids.slice(0, -1)];
}

/** Log-density of a latent as it was drawn, in float64. */
function logDensity({ embedsStd, options }: Sampler, { embeds, mean, logStd }: Latent): number {
  let sum = 0;
  embeds.forEach((fed, d) => {
    const z = (fed / embedsStd - mean[d]) * Math.exp(-logStd[d]);
    sum -= 0.5 * z * z + logStd[d] + 0.5 * Math.log(2 * Math.PI);
  });
  return options.rl_config.latent_logprob === "sum" ? sum : sum / embeds.length;
}

/** log(1 - p) of log p, as ops/bernoulli.ts computes it. */
function logRest(logProb: number): number {
  return Math.log(Math.max(-Math.expm1(logProb), 2 ** -24));
}
