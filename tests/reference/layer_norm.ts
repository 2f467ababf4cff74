/** Layer normalisation as plain float64 loops. */

/** Value for x [N, D], weight [D], bias [D]. */
export function layerNorm(
  x: Float64Array,
  weight: Float64Array,
  bias: Float64Array,
  eps: number,
): Float64Array {
  const dim = weight.length;
  const out = new Float64Array(x.length);
  for (let begin = 0; begin < x.length; begin += dim) {
    let mean = 0;
    for (let i = 0; i < dim; i++) mean += x[begin + i] / dim;
    let variance = 0;
    for (let i = 0; i < dim; i++) variance += (x[begin + i] - mean) ** 2 / dim;
    const rstd = 1 / Math.sqrt(variance + eps);
    for (let i = 0; i < dim; i++) {
      out[begin + i] = (x[begin + i] - mean) * rstd * weight[i] + bias[i];
    }
  }
  return out;
}
