/** sum w v / sum w over rows; 0 when no row counts. Plain mean without weights. */
export function rowMean(values: ArrayLike<number>, weights?: ArrayLike<number>): Float64Array {
  let sum = 0;
  let total = 0;
  for (let r = 0; r < values.length; r++) {
    const weight = weights ? weights[r] : 1;
    sum += weight * values[r];
    total += weight;
  }
  return Float64Array.of(total === 0 ? 0 : sum / total);
}
