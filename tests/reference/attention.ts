/** Attention in float64, as plain loops over the definition. */
import type { Segment } from "../../ops/attention.ts";

/** Sizes of an attention: H query heads, K key heads, head size E. */
export interface Heads {
  readonly numHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly scale?: number;
}

/** softmax(scale * q k^T) v; q [N, H*E], keys and values [S, K*E] -> [N, H*E]. */
export function attention(
  q: Float64Array,
  keys: Float64Array,
  values: Float64Array,
  segment: Segment,
  { numHeads, numKeyValueHeads, headDim, scale = 1 / Math.sqrt(headDim) }: Heads,
): Float64Array {
  const out = new Float64Array(q.length);
  const perGroup = numHeads / numKeyValueHeads;
  for (const row of segment.rows) {
    for (let i = 0; i < row.queryCount; i++) {
      for (let h = 0; h < numHeads; h++) {
        const at = ((row.queryBegin + i) * numHeads + h) * headDim;
        const keyAt = (slot: number) =>
          (slot * numKeyValueHeads + Math.floor(h / perGroup)) * headDim;
        const weights = new Map<number, number>();
        let total = 0;
        let peak = -Infinity;
        for (let slot = row.slotBegin; slot <= row.slotOfFirstQuery + i; slot++) {
          if (segment.visible && segment.visible[slot] === 0) continue;
          let score = 0;
          for (let e = 0; e < headDim; e++) score += q[at + e] * keys[keyAt(slot) + e];
          weights.set(slot, score * scale);
          peak = Math.max(peak, score * scale);
        }
        for (const [slot, score] of weights) {
          weights.set(slot, Math.exp(score - peak));
          total += Math.exp(score - peak);
        }
        for (const [slot, weight] of weights) {
          for (let e = 0; e < headDim; e++) {
            out[at + e] += weight / total * values[keyAt(slot) + e];
          }
        }
      }
    }
  }
  return out;
}
