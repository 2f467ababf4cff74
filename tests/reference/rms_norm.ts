/** Root mean square normalisation as plain float64 loops. */

/** Value for x [N, D], weight [D]. */
export function rmsNorm(x: Float64Array, weight: Float64Array, eps: number): Float64Array {
  const dim = weight.length;
  const out = new Float64Array(x.length);
  for (let begin = 0; begin < x.length; begin += dim) {
    let square = 0;
    for (let i = 0; i < dim; i++) square += x[begin + i] ** 2;
    const rstd = 1 / Math.sqrt(square / dim + eps);
    for (let i = 0; i < dim; i++) out[begin + i] = x[begin + i] * rstd * weight[i];
  }
  return out;
}
