/**
 * What a method keeps of its latents to be looked at: the numbers of each question's latents, by name.
 *
 *   latents        as fed, [N, D]
 *   mean, sigma    the Gaussian that each is from, in units of embeds_std, before any temperature, [N, D]
 *   stop_log_prob  log-probability of ### behind each, at temperature 1, [N]
 *   hidden.L       output of block L where a latent stands, from 1; the last block's after the final norm, [N, D]
 *
 * Chained latents (latent_chain.ts) are hidden states, or made of them: they have no Gaussian, and stop_log_prob only
 * where the model decides when to stop.
 */
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone, ForwardResult } from "../llm/backbone.ts";
import type { LatentTrace } from "./method.ts";

/** One latent of one row. */
export interface FedLatent {
  /** What was fed, [D]. */
  readonly embeds: Float32Array;
  /** Log-probability of `###` after it, at temperature 1. */
  readonly separatorLogProb: number;
  /** Where it stands, the outputs of the blocks asked for, [D] each. */
  readonly states: readonly Float32Array[];
}

/** What is kept of the Gaussian that a latent is from: in units of embeds_std, before any temperature, [D] each. */
export type GaussianPart = "mean" | "logStd";

/** One latent of one row, with what else of it is kept: of a drawn one its Gaussian. */
export type Latent<K extends string = GaussianPart> = FedLatent & Readonly<Record<K, Float32Array>>;

/**
 * The outputs of some blocks.
 * @param result of a forward pass with `hiddenStates`
 * @param layers from 1, the first block, to the number of blocks, the last one after the final norm
 * @returns [N, D] each
 * @throws {RangeError} for a block that the model has not.
 */
export function blockOutputs(
  { numLayers }: Pick<Backbone, "numLayers">,
  { hidden, hiddenStates }: ForwardResult,
  layers: readonly number[],
): Tensor[] {
  return layers.map((layer) => {
    if (!Number.isInteger(layer) || layer < 1 || layer > numLayers) {
      throw new RangeError(`latent_layers must be integers from 1 to ${numLayers}, got ${layer}`);
    }
    return layer === numLayers ? hidden : hiddenStates[layer];
  });
}

/** What is kept of drawn latents, one question's. */
export function thoughtTrace(latents: readonly Latent[], layers: readonly number[]): LatentTrace {
  return {
    latents: joined(latents.map(({ embeds }) => embeds)),
    mean: joined(latents.map(({ mean }) => mean)),
    sigma: joined(latents.map(({ logStd }) => logStd)).map(Math.exp),
    stop_log_prob: Float32Array.from(latents, ({ separatorLogProb }) => separatorLogProb),
    ...hiddenTrace(latents.map(({ states }) => states), layers),
  };
}

/** What is kept of chained latents. */
export interface ChainedLatents {
  /** As fed, [D] each. */
  readonly latents: readonly Float32Array[];
  /** Of each latent, those of each layer, [D]. */
  readonly states: readonly (readonly Float32Array[])[];
  /** Where the model decides when to stop: log-probability of `###` behind each. */
  readonly stopLogProbs?: readonly number[];
}

/** What is kept of chained latents, one question's. */
export function chainTrace(
  { latents, states, stopLogProbs }: ChainedLatents,
  layers: readonly number[],
): LatentTrace {
  const decided = stopLogProbs && { stop_log_prob: Float32Array.from(stopLogProbs) };
  return { latents: joined(latents), ...decided, ...hiddenTrace(states, layers) };
}

function hiddenTrace(
  states: readonly (readonly Float32Array[])[],
  layers: readonly number[],
): LatentTrace {
  return Object.fromEntries(
    layers.map((layer, k) => [`hidden.${layer}`, joined(states.map((of) => of[k]))]),
  );
}

/** Rows laid end to end. */
function joined(rows: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const out = new Float32Array(rows.reduce((sum, { length }) => sum + length, 0));
  let begin = 0;
  for (const row of rows) {
    out.set(row, begin);
    begin += row.length;
  }
  return out;
}
