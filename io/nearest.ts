/** The known word that a misspelt one probably means, for error messages. */

/**
 * The known word with the fewest edits from `word`, if that is less than half of it.
 * @returns undefined when none is near
 */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const [best] = known.map((k) => ({ k, d: edits(word.toLowerCase(), k.toLowerCase()) }))
    .toSorted((a, b) => a.d - b.d);
  return best && best.d <= Math.max(1, Math.floor(word.length / 2) - 1) ? best.k : undefined;
}

/** Levenshtein's distance: insertions, deletions and replacements from `a` to `b`. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}
