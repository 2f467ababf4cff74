/**
 * How CoLaR cuts the steps of a batch into groups of c tokens, and where each group stands.
 *
 * The first token, `###`, is a group of its own; then follow c tokens a group, the last group may be smaller. All rows
 * of a batch have the same number of columns, one for each group or pad.
 *
 * - `clean`: a row with n groups occupies the last n columns.
 * - `as-released` (A14): pads are put in front until `###` is the last token of a group, and behind until the length is
 *   a multiple of c; how many follows from the longest row. A row's last column may hold pads alone.
 *
 * With c = 1 both are the same. Source: arXiv 2505.16552, section 3; the published code's models/colar.py (forward).
 */

/** Where groups stand: a switch of the configuration. */
export type GroupLayout = "as-released" | "clean";

/** One row's groups. */
export interface RowGroups {
  /** Token ids of each group, [number of groups][1..c]. */
  readonly groups: readonly (readonly number[])[];
  /** Columns of pads before the first group. */
  readonly before: number;
  /** Columns of pads after the last group: 0 or, as released, 1. */
  readonly after: number;
}

/**
 * Groups the steps of a batch.
 * @param steps token ids of every row, `###` first
 * @param c tokens a group
 * @throws {RangeError} when c is no integer from 1.
 */
export function groupSteps(
  steps: readonly (readonly number[])[],
  c: number,
  layout: GroupLayout,
): RowGroups[] {
  if (!Number.isSafeInteger(c) || c < 1) {
    throw new RangeError(`compression_factor must be an integer from 1, got ${c}`);
  }
  const rows = steps.map((ids) => cut(ids, c));
  const longest = Math.max(...steps.map(({ length }) => length));
  if (layout === "clean" || c === 1) {
    const columns = Math.max(...rows.map(({ length }) => length));
    return rows.map((groups) => ({ groups, before: columns - groups.length, after: 0 }));
  }
  const smallestRight = c - (longest + c - 1) % c;
  const columns = (longest + c - 1 + smallestRight) / c;
  return rows.map((groups, row) => {
    const pads = longest - steps[row].length;
    const right = smallestRight + pads % c;
    const left = pads + (c - 1 - pads % c) + (right === c ? c : 0);
    const before = Math.floor(left / c);
    return { groups, before, after: columns - before - groups.length };
  });
}

function cut(ids: readonly number[], c: number): number[][] {
  const groups = [[ids[0]]];
  for (let i = 1; i < ids.length; i += c) groups.push(ids.slice(i, i + c));
  return groups;
}

/**
 * The compression factors that training draws from.
 * @param value a number n for 1..n, a list, or a list as text: `1,3,5`
 */
export function compressionFactors(value: number | string | readonly number[]): readonly number[] {
  if (typeof value === "number") return Array.from({ length: value }, (_, i) => i + 1);
  return typeof value === "string" ? value.split(",").map(Number) : value;
}

/** Thinking speeds as the configuration has them: one, a list, or a list as text, `2,auto`. */
export type SpeedSetting = number | string | readonly (number | "auto")[];

/** The thinking speeds that are reported. */
export function thinkingSpeeds(value: SpeedSetting): readonly (number | "auto")[] {
  if (typeof value === "number") return [value];
  if (typeof value !== "string") return value;
  return value.split(",").map((speed) => speed.trim() === "auto" ? "auto" : Number(speed));
}
