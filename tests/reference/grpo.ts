/** The clipped surrogate as the text of the method says it, sequence by sequence; `divisor` 0 averages over tokens. */
export function grpoLoss(
  logProbs: Float64Array,
  old: ArrayLike<number>,
  lengths: readonly number[],
  advantages: readonly number[],
  clipEps: number,
  divisor: number,
): Float64Array {
  let [i, total] = [0, 0];
  lengths.forEach((length, b) => {
    let sum = 0;
    for (let t = 0; t < length; t++, i++) {
      const ratio = Math.exp(logProbs[i] - old[i]);
      const clipped = Math.min(Math.max(ratio, 1 - clipEps), 1 + clipEps);
      sum -= Math.min(ratio * advantages[b], clipped * advantages[b]);
    }
    if (length > 0) total += sum / (divisor || length);
  });
  return Float64Array.of(lengths.length === 0 ? 0 : total / lengths.length);
}
