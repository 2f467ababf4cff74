/** mean + stdScale * exp(logStd) * eps. */
export function sampleGaussian(
  mean: Float64Array,
  logStd: Float64Array,
  eps: Float64Array,
  stdScale: number,
): Float64Array {
  return mean.map((m, i) => m + stdScale * Math.exp(logStd[i]) * eps[i]);
}

/** Sum over D of log N(value; mean, exp(logStd)) for each of `rows` rows. */
export function gaussianLogProb(
  mean: Float64Array,
  logStd: Float64Array,
  value: Float64Array,
  rows: number,
): Float64Array {
  const dim = mean.length / rows;
  const out = new Float64Array(rows);
  for (let i = 0; i < mean.length; i++) {
    const std = Math.exp(logStd[i]);
    const density = 1 / (std * Math.sqrt(2 * Math.PI));
    out[Math.floor(i / dim)] += Math.log(density) - (value[i] - mean[i]) ** 2 / (2 * std * std);
  }
  return out;
}

/** Mean over D of log(std * sqrt(2 pi e)) for each of `rows` rows. */
export function gaussianEntropy(logStd: Float64Array, rows: number): Float64Array {
  const dim = logStd.length / rows;
  const out = new Float64Array(rows);
  for (let i = 0; i < logStd.length; i++) {
    const std = Math.exp(logStd[i]);
    out[Math.floor(i / dim)] += Math.log(std * Math.sqrt(2 * Math.PI * Math.E)) / dim;
  }
  return out;
}
