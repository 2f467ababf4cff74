/** Mean over D of e^2 / (2 beta) where |e| < beta, else |e| - beta / 2, e = x - target, for each of `rows` rows. */
export function smoothDistance(
  x: Float64Array,
  target: Float64Array,
  rows: number,
  beta: number,
): Float64Array {
  const dim = x.length / rows;
  const out = new Float64Array(rows);
  for (let i = 0; i < x.length; i++) {
    const e = Math.abs(x[i] - target[i]);
    out[Math.floor(i / dim)] += (e < beta ? e * e / (2 * beta) : e - beta / 2) / dim;
  }
  return out;
}
