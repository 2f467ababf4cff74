/** How transformers filters: each function works on one row of logits in float64. */

/** Probabilities after temperature, top-k and top-p; 0 where dropped. Equal logits: the lowest ids are kept. */
export function filterProbabilities(
  logits: ArrayLike<number>,
  { temperature = 1, topK = 0, topP = 1, suppressed = [] as readonly number[] },
): Float64Array {
  const s = Array.from(
    logits,
    (logit, id) => suppressed.includes(id) ? -Infinity : logit / temperature,
  );
  const ids = s.map((_, id) => id);
  let kept = new Set(ids);
  if (topK > 0 && topK < s.length) {
    const edge = s.toSorted((a, b) => b - a)[topK - 1];
    kept = new Set(ids.filter((id) => s[id] >= edge));
  }
  if (topP < 1) {
    const p = softmax(s, kept);
    const ascending = [...kept].sort((a, b) => s[a] - s[b] || b - a);
    let cumulative = 0;
    for (const id of ascending.slice(0, -1)) {
      cumulative += p[id];
      if (cumulative <= 1 - topP) kept.delete(id);
    }
  }
  return softmax(s, kept);
}

/** The smallest id whose cumulative probability exceeds u. */
export function draw(probabilities: Float64Array, u: number): number {
  let cumulative = 0;
  return probabilities.findIndex((p) => (cumulative += p) > u);
}

function softmax(s: readonly number[], kept: ReadonlySet<number>): Float64Array {
  const peak = [...kept].reduce((max, id) => Math.max(max, s[id]), -Infinity);
  const e = Float64Array.from(s, (x, id) => kept.has(id) ? Math.exp(x - peak) : 0);
  const total = e.reduce((sum, x) => sum + x, 0);
  return e.map((x) => x / total);
}
