/** CoLaR's compression as plain float64 loops. */

/** Groups `offsets` of x [N, dim]: sums / (s + 1e-5), s the number of tokens or its square root. */
export function compress(
  x: Float64Array,
  dim: number,
  offsets: ArrayLike<number>,
  sqrtMean: boolean,
): Float64Array {
  const out = new Float64Array((offsets.length - 1) * dim);
  for (let g = 0; g + 1 < offsets.length; g++) {
    const count = offsets[g + 1] - offsets[g];
    const s = sqrtMean ? Math.sqrt(count) : count;
    for (let t = offsets[g]; t < offsets[g + 1]; t++) {
      for (let i = 0; i < dim; i++) out[g * dim + i] += x[t * dim + i] / (s + 1e-5);
    }
  }
  return out;
}
