/** Mean over D of (x - target)^2 for each of `rows` rows. */
export function squaredError(x: Float64Array, target: Float64Array, rows: number): Float64Array {
  const dim = x.length / rows;
  const out = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    for (let d = 0; d < dim; d++) out[r] += (x[r * dim + d] - target[r * dim + d]) ** 2 / dim;
  }
  return out;
}
