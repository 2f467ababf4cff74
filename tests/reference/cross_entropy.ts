/** log softmax(hidden W^T)[label] for each label; hidden [M, D], weight [V, D]. */
export function logProbs(
  hidden: Float64Array,
  weight: Float64Array,
  labels: ArrayLike<number>,
): Float64Array {
  const dim = labels.length === 0 ? 0 : hidden.length / labels.length;
  const out = new Float64Array(labels.length);
  for (let r = 0; r < labels.length; r++) {
    const logits: number[] = [];
    for (let v = 0; v < weight.length / dim; v++) {
      let sum = 0;
      for (let d = 0; d < dim; d++) sum += hidden[r * dim + d] * weight[v * dim + d];
      logits.push(sum);
    }
    const peak = logits.reduce((a, b) => Math.max(a, b));
    const sum = logits.reduce((s, x) => s + Math.exp(x - peak), 0);
    out[r] = logits[labels[r]] - peak - Math.log(sum);
  }
  return out;
}
