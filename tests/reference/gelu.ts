/** GELU as plain float64 loops. */

/** The exact form: x (1 + erf(x / sqrt 2)) / 2. */
export function geluErf(x: Float64Array): Float64Array {
  return x.map((v) => v * normalCdf(v));
}

/** The tanh form: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. */
export function geluTanh(x: Float64Array): Float64Array {
  return x.map((v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))));
}

/**
 * P(X <= x) of a standard normal X: the power series about 0 (Abramowitz and Stegun, 26.2.11) up to |x| = 6, beyond
 * it the tail's asymptotic series (26.2.12), which is below 1e-9 there.
 */
export function normalCdf(x: number): number {
  const density = Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
  if (Math.abs(x) > 6) {
    let [term, sum] = [1, 1];
    for (let k = 1; k <= 12; k++) sum += term *= -(2 * k - 1) / (x * x);
    const tail = Number.isFinite(x * x) ? density / Math.abs(x) * sum : 0;
    return x > 0 ? 1 - tail : tail;
  }
  let [term, sum] = [x, x];
  for (let k = 1; k < 120; k++) sum += term *= x * x / (2 * k + 1);
  return 0.5 + density * sum;
}
