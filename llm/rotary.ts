/**
 * Rotary tables of a model on the device, grown to the positions in use: a table for 131,072 positions would take
 * 32 MB that a row of 100 tokens never reads.
 *
 * Tables that were outgrown stay: an earlier pass of the same step may still read them in its backward. Each is twice
 * the one before or ends with the model's positions, so all of them together take less than three times the last.
 */
import { type RopeConfig, type RopeTables, ropeTables } from "../ops/rope.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Weights } from "./weights.ts";

/** Cosines and sines by position, [P, E/2] each. */
export class RotaryTables {
  #tables: { cos: Tensor; sin: Tensor } | undefined;
  #numPositions = 0;

  constructor(
    private readonly weights: Pick<Weights, "keep">,
    private readonly config: Omit<RopeConfig, "maxPositions">,
    private readonly maxPositions: number,
  ) {}

  /** Makes sure that every position, each below the model's `max_position_embeddings`, has its row. */
  cover(positions: Uint32Array): void {
    let last = 0;
    for (const p of positions) last = Math.max(last, p);
    if (last < this.#numPositions) return;
    const wanted = Math.min(this.maxPositions, Math.max(512, 2 * last));
    const { cos, sin }: RopeTables = ropeTables({ ...this.config, maxPositions: wanted });
    const shape = [wanted, this.config.headDim / 2];
    this.#tables = { cos: this.weights.keep(cos, shape), sin: this.weights.keep(sin, shape) };
    this.#numPositions = wanted;
  }

  /** The tables; `cover` first. */
  get tables(): { readonly cos: Tensor; readonly sin: Tensor } {
    if (!this.#tables) throw new TypeError("rotary tables: cover() the positions first");
    return this.#tables;
  }
}
