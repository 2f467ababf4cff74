/** log p or log(1 - p) for each log p. */
export function bernoulliLogProb(
  logProb: Float64Array,
  happened: ArrayLike<number>,
): Float64Array {
  return logProb.map((x, i) => happened[i] ? x : Math.log(-Math.expm1(x)));
}
