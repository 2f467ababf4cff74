/**
 * What stands around the latents, as rows laid end to end: the question before them, the rest of the steps and the
 * answer behind them.
 *
 * The published code pads steps on the left and answers on the right to the longest of the batch, supervises these pads
 * (A5) but not the first token behind the latents (A6), and passes no positions, so that pads are counted (A8). Here a
 * pad exists only where its label is supervised: it is then a token like any other whose key is invisible.
 *
 * Source: the published CoLaR code (models/coconut.py, models/icot.py, models/distill.py).
 */
import type { RowTokens } from "../llm/tokens.ts";
import { IGNORED } from "./language_loss.ts";

/** Positions count a row's real tokens (`mask`), or the columns of the padded batch. */
export type PositionIds = "mask" | "as-released";

/** How rows with latents are laid out: keys of the configuration. */
export interface LayoutOptions {
  /** Whether the pads of the padded batch are there and carry labels (A5). */
  readonly label_pads: boolean;
  /** Whether the first token behind question and latents carries a label (A6). */
  readonly supervise_transition: boolean;
  /** What positions count (A8). */
  readonly position_ids: PositionIds;
}

/** One row of a call of the backbone. */
export interface LaidRow extends RowTokens {
  readonly ids: readonly number[];
  /** `IGNORED` where there is none. */
  readonly labels: readonly number[];
  readonly visible: readonly number[];
  /** Absent where positions count real tokens. */
  readonly positions?: readonly number[];
}

/** What follows question and latents in one row: token ids of two segments, each padded on its own. */
export interface Following {
  readonly steps: readonly number[];
  readonly answer: readonly number[];
}

/**
 * Lays out questions; none of their tokens is supervised.
 * @param questions token ids of each row
 * @param positions with `as-released` each row's last token stands in the same column
 */
export function layQuestions(
  questions: readonly (readonly number[])[],
  positions: PositionIds,
): LaidRow[] {
  const longest = longestOf(questions);
  return questions.map((ids) => ({
    ids,
    length: ids.length,
    labels: ids.map(() => IGNORED),
    visible: ids.map(() => 1),
    positions: positions === "mask" ? undefined : ids.map((_, i) => longest - ids.length + i),
  }));
}

/**
 * Lays out what follows.
 * @param options.column columns of the padded batch before it, as `as-released` positions count them
 */
export function layFollowing(
  rows: readonly Following[],
  options: LayoutOptions & { readonly column: number; readonly padId: number },
): LaidRow[] {
  const { label_pads: hasPads, supervise_transition, position_ids, column, padId } = options;
  const numSteps = longestOf(rows.map(({ steps }) => steps));
  const numAnswer = longestOf(rows.map(({ answer }) => answer));
  const pads = (count: number) => Array.from({ length: hasPads ? count : 0 }, () => padId);
  return rows.map(({ steps, answer }) => {
    const before = pads(numSteps - steps.length);
    const after = pads(numAnswer - answer.length);
    const kept = [...steps, ...answer];
    const ids = [...before, ...kept, ...after];
    const first = column + (hasPads ? 0 : numSteps - steps.length);
    return {
      ids,
      length: ids.length,
      labels: ids.map((id, i) => i > 0 || supervise_transition ? id : IGNORED),
      visible: [...before.map(() => 0), ...kept.map(() => 1), ...after.map(() => 0)],
      positions: position_ids === "mask" ? undefined : ids.map((_, i) => first + i),
    };
  });
}

/** Each row of `first` with that of `second` behind it, for a pass without latents between them. */
export function joinRows(first: readonly LaidRow[], second: readonly LaidRow[]): LaidRow[] {
  return first.map((row, b) => {
    const next = second[b];
    return {
      ids: [...row.ids, ...next.ids],
      length: row.length + next.length,
      labels: [...row.labels, ...next.labels],
      visible: [...row.visible, ...next.visible],
      positions: row.positions && next.positions && [...row.positions, ...next.positions],
    };
  });
}

/** A row without its first tokens, which are in a cache already. */
export function rowFrom(row: LaidRow, begin: number): LaidRow {
  return {
    ids: row.ids.slice(begin),
    length: row.length - begin,
    labels: row.labels.slice(begin),
    visible: row.visible.slice(begin),
    positions: row.positions?.slice(begin),
  };
}

/** Token ids of rows laid end to end, [N]. */
export function packedIds(rows: readonly LaidRow[]): Uint32Array {
  return Uint32Array.from(rows.flatMap(({ ids }) => ids));
}

/** Labels of rows laid end to end, [N]. */
export function packedLabels(rows: readonly LaidRow[]): Int32Array {
  return Int32Array.from(rows.flatMap(({ labels }) => labels));
}

/** The most tokens of a row. */
export function longestOf(rows: readonly (readonly number[])[]): number {
  return Math.max(0, ...rows.map(({ length }) => length));
}
