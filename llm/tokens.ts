/**
 * The tokens of one call of the backbone: rows laid end to end, [N, D] with N = all tokens, and no pads.
 *
 * A pad that a published loss uses is a token like any other whose key is invisible.
 */
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { type AttentionLayout, layoutSegment } from "../ops/attention.ts";

/** One row of a batch. */
export interface RowTokens {
  /** Number of tokens. */
  readonly length: number;
  /** 1 where a token's key is visible, 0 where not; all visible by default. */
  readonly visible?: ArrayLike<number>;
  /** Position of each token; by default max(number of visible tokens up to it - 1, 0). */
  readonly positions?: ArrayLike<number>;
}

/** What the backbone needs to know about the tokens of one call. */
export interface Tokens {
  readonly numTokens: number;
  /** First token of each row, and the end: [rows + 1]. */
  readonly offsets: Uint32Array;
  /** Position of each token, [N]. */
  readonly positions: Uint32Array;
  /** The same on the device. */
  readonly positionIds: Tensor;
  /** Which keys each token sees. */
  readonly layout: AttentionLayout;
}

/**
 * Lays rows end to end, each seeing itself only: a training batch or a plain forward pass without a cache.
 * @param scope where the tables live
 */
export function packRows(scope: Scope, rows: readonly RowTokens[]): Tokens {
  const offsets = offsetsOf(rows);
  const numTokens = offsets[rows.length];
  const visible = new Uint32Array(numTokens).fill(1);
  const positions = new Uint32Array(numTokens);
  rows.forEach((row, b) => {
    if (row.visible) visible.set(Array.from(row.visible), offsets[b]);
    positions.set(positionsOf(row, 0), offsets[b]);
  });
  const layout = layoutSegment(scope, {
    rows: rows.map(({ length }, b) => ({
      queryBegin: offsets[b],
      queryCount: length,
      slotBegin: offsets[b],
      slotOfFirstQuery: offsets[b],
    })),
    numTokens,
    numSlots: numTokens,
    visible: visible.includes(0) ? visible : null,
  });
  const positionIds = scope.upload(positions);
  return { numTokens, offsets, positions, positionIds, layout };
}

/** First token of each row when laid end to end, and the end. */
export function offsetsOf(rows: readonly { readonly length: number }[]): Uint32Array {
  const offsets = new Uint32Array(rows.length + 1);
  rows.forEach(({ length }, b) => offsets[b + 1] = offsets[b] + length);
  return offsets;
}

/** A row's positions when `seen` visible tokens stand before it. */
export function positionsOf(row: RowTokens, seen: number): ArrayLike<number> {
  if (row.positions) return row.positions;
  const positions = new Uint32Array(row.length);
  for (let i = 0, count = seen; i < row.length; i++) {
    count += row.visible ? row.visible[i] : 1;
    positions[i] = Math.max(count - 1, 0);
  }
  return positions;
}
