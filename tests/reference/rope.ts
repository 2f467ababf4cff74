/** Rotary embedding in float64, as plain loops over the definition. */

/** x [N, heads * E] turned by positions[n] * inverseFrequencies[i] -> [N, heads * E]. */
export function rope(
  x: Float64Array,
  positions: ArrayLike<number>,
  inverseFrequencies: ArrayLike<number>,
  numHeads: number,
): Float64Array {
  const half = inverseFrequencies.length;
  const out = new Float64Array(x.length);
  for (let n = 0; n < positions.length; n++) {
    for (let h = 0; h < numHeads; h++) {
      for (let i = 0; i < half; i++) {
        const a = (n * numHeads + h) * 2 * half + i;
        const b = a + half;
        const angle = positions[n] * inverseFrequencies[i];
        out[a] = x[a] * Math.cos(angle) - x[b] * Math.sin(angle);
        out[b] = x[b] * Math.cos(angle) + x[a] * Math.sin(angle);
      }
    }
  }
  return out;
}
