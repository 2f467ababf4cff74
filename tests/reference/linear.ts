/** The linear layer and its adapter as plain float64 loops. */

/** Sizes and options of {@link linear}. */
export interface LinearReference {
  readonly x: ArrayLike<number>;
  readonly weight: ArrayLike<number>;
  readonly bias?: ArrayLike<number>;
  readonly a?: ArrayLike<number>;
  readonly b?: ArrayLike<number>;
  readonly scale?: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly rank?: number;
}

/** y [m, n] = x [m, k] W[n, k]^T (+ bias [n]) (+ scale (x a[rank, k]^T) b[n, rank]^T). */
export function linear(r: LinearReference): Float64Array {
  const { m, n, k, rank = 0 } = r;
  const y = new Float64Array(m * n);
  for (let row = 0; row < m; row++) {
    const z = new Float64Array(rank);
    for (let i = 0; i < rank; i++) z[i] = dot(r.x, row * k, r.a!, i * k, k);
    for (let col = 0; col < n; col++) {
      let sum = dot(r.x, row * k, r.weight, col * k, k) + (r.bias?.[col] ?? 0);
      if (rank > 0) sum += (r.scale ?? 1) * dot(z, 0, r.b!, col * rank, rank);
      y[row * n + col] = sum;
    }
  }
  return y;
}

function dot(a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number, n: number): number {
  let sum = 0;
  for (let q = 0; q < n; q++) sum += a[i + q] * b[j + q];
  return sum;
}
