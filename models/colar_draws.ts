/** What CoLaR draws for a batch of its supervised stage: functions of (seed, step) and of the place in the batch. */
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { normals, rowKey, uniformOf } from "../ops/random.ts";
import type { LatentPlace } from "./colar_batch.ts";
import { compressionFactors } from "./compression.ts";
import { STREAMS } from "./draws.ts";
import type { ThinkingSpeed, TrainDraw } from "./method.ts";

/** What is drawn for one batch. */
export interface BatchDraws {
  readonly compression: number;
  readonly speed: ThinkingSpeed;
  /** Which token of a group is its label: an index below `size`; asked once for each group, in order. */
  labelChoice(row: number, column: number, size: number): number;
  /** Standard normal numbers for each place, [places, D]. */
  eps(g: Graph, places: readonly LatentPlace[]): Tensor;
}

/** Keys of `latent_cot_config` that say what is drawn. */
export interface DrawOptions {
  readonly max_compression_factor: number | string | readonly number[];
  readonly replace_r_with_auto_prob: number;
}

/**
 * The draws of one training step.
 * @param hiddenSize D
 */
export function batchDraws(
  { seed, step }: Pick<TrainDraw, "seed" | "step">,
  { max_compression_factor, replace_r_with_auto_prob }: DrawOptions,
  hiddenSize: number,
): BatchDraws {
  const factors = compressionFactors(max_compression_factor);
  const uniform = (stream: number, position = 0) => uniformOf(rowKey(seed, stream, step, position));
  const compression = factors[Math.floor(uniform(STREAMS.compression) * factors.length)];
  let numGroups = 0;
  return {
    compression,
    speed: uniform(STREAMS.auto) < replace_r_with_auto_prob ? "auto" : compression,
    labelChoice: (_row, _column, size) =>
      Math.floor(uniform(STREAMS.groupLabel, numGroups++) * size),
    eps: (g, places) => {
      const keys = Uint32Array.from(places.flatMap((_, i) => [step, i]));
      const rows = g.scope.upload(keys, [places.length, 2]);
      const draw = { seed, stream: STREAMS.trainedLatent, rows };
      return normals(g, [places.length, hiddenSize], draw);
    },
  };
}
