/** The table that a test ends with: a line for each model and speed, greedy and drawn, with 95 % intervals. */

/** One measured share of right answers. */
export interface Score {
  /** From 0 to 1. */
  readonly acc: number;
  /** #L: mean latents or reasoning tokens. */
  readonly n_latent_forward: number;
  /** Ends of the accuracy's interval, from 0 to 1. */
  readonly interval: readonly [low: number, high: number];
}

/** A line of the table. */
export interface ResultRow {
  readonly label: string;
  readonly greedy?: Score;
  /** Mean over decode seeds. */
  readonly drawn?: Score;
}

/**
 * The table as text.
 * @param caption what the drawn columns are, such as `drawn, 5 seeds`
 */
export function resultTable(rows: readonly ResultRow[], caption: string): string {
  const hasDrawn = rows.some(({ drawn }) => drawn);
  const head = ["", "greedy", "#L", ...hasDrawn ? [caption, "#L"] : []];
  const body = rows.map(({ label, greedy, drawn }) => [
    label,
    ...cells(greedy),
    ...hasDrawn ? cells(drawn) : [],
  ]);
  const widths = head.map((_, i) => Math.max(...[head, ...body].map((row) => row[i].length)));
  return [head, ...body].map((row) =>
    row.map((cell, i) => i === 0 || i % 2 === 1 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))
      .join("  ").trimEnd()
  ).join("\n");
}

function cells(score: Score | undefined): string[] {
  if (!score) return ["", ""];
  const { acc, interval: [low, high], n_latent_forward } = score;
  const percent = (share: number) => (100 * share).toFixed(1);
  const range = `(${percent(low)} to ${percent(high)})`;
  return [`${percent(acc).padStart(5)} % ${range}`, n_latent_forward.toFixed(1)];
}
