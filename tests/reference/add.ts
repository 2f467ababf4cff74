/** Weighted sums as plain float64 loops. */

/** alpha a + beta b, element by element. */
export function add(a: Float64Array, b: Float64Array, alpha = 1, beta = 1): Float64Array {
  return a.map((x, i) => alpha * x + beta * b[i]);
}
