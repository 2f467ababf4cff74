/** One step of AdamW in place, in float64, as the paper's algorithm 2 writes it; `step` counts from 1. */
export function adamwStep(
  x: Float64Array,
  d_x: ArrayLike<number>,
  m: Float64Array,
  v: Float64Array,
  step: number,
  numbers: { lr: number; betas: readonly [number, number]; eps: number; weightDecay: number },
): void {
  const { lr, betas: [beta1, beta2], eps, weightDecay } = numbers;
  for (let i = 0; i < x.length; i++) {
    m[i] = beta1 * m[i] + (1 - beta1) * d_x[i];
    v[i] = beta2 * v[i] + (1 - beta2) * d_x[i] ** 2;
    const mean = m[i] / (1 - beta1 ** step);
    const variance = v[i] / (1 - beta2 ** step);
    x[i] -= lr * weightDecay * x[i] + lr * mean / (Math.sqrt(variance) + eps);
  }
}
