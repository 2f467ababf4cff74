/** Rows by index as a plain loop. */

/** Rows `index` of x [N, dim]. */
export function gather(x: Float64Array, dim: number, index: ArrayLike<number>): Float64Array {
  const out = new Float64Array(index.length * dim);
  for (let m = 0; m < index.length; m++) {
    for (let i = 0; i < dim; i++) out[m * dim + i] = x[index[m] * dim + i];
  }
  return out;
}
