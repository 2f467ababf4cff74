/** A range of rows, as a plain loop. */

/** Rows `begin` to `end` of x [N, dim]. */
export function slice(x: Float64Array, dim: number, begin: number, end: number): Float64Array {
  return x.slice(begin * dim, end * dim);
}
