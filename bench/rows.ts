/** Rows of the benchmark: a workload with its target, measured among the two references, and its place in a table. */
import type { Gpu } from "../gpu/device.ts";
import {
  measure,
  type MeasureOptions,
  references,
  type Timing,
  type Workload,
} from "../io/measure.ts";

/** What was aimed at. */
export type Target =
  | { readonly share: number }
  | { readonly gflops: number }
  | { readonly ms: number };

/** A workload of a group. */
export interface Spec extends Workload {
  readonly target?: Target;
}

/** A measured workload. */
export interface Row extends Timing {
  readonly group: string;
  /** Speed over the ceiling's (GFLOP/s) or the load loop's (GB/s) in the same measurement. */
  readonly share?: number;
  /** What a whole step or answer gets done. */
  readonly rate?: { readonly perSecond: number; readonly of: "tokens" | "questions" };
  readonly target?: Target;
  readonly reached?: boolean;
}

/** What every group of the benchmark gets. */
export interface Bench {
  readonly gpu: Gpu;
  /** Fewer shapes and rounds. */
  readonly quick: boolean;
  readonly options: MeasureOptions;
}

/**
 * Measures workloads in turns with the references.
 * @returns the references' rows, then one row for each workload
 */
export async function measureRows(
  { gpu, options }: Bench,
  group: string,
  specs: readonly Spec[],
): Promise<Row[]> {
  using scope = gpu.scope();
  const timings = await measure(gpu, [...references(gpu, scope), ...specs], options);
  const [ceiling, loads] = timings;
  return timings.map((timing, i) => {
    if (i < 2) return { group, ...timing };
    const share = timing.gflops !== undefined
      ? timing.gflops / ceiling.gflops!
      : timing.gigabytes !== undefined
      ? timing.gigabytes / loads.gigabytes!
      : undefined;
    return withTarget({ group, ...timing, share }, specs[i - 2].target);
  });
}

/** The row with its target, and whether it was reached. */
export function withTarget(row: Row, target: Target | undefined): Row {
  if (!target) return row;
  const reached = "ms" in target
    ? row.ms <= target.ms
    : "share" in target
    ? (row.share ?? 0) >= target.share
    : (row.gflops ?? 0) >= target.gflops;
  return { ...row, target, reached };
}

/** Lines of a table: a row a line. */
export function listTable(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.name,
    row.ms < 10 ? row.ms.toFixed(2) : row.ms.toFixed(1),
    row.medianMs < 10 ? row.medianMs.toFixed(2) : row.medianMs.toFixed(1),
    `${row.rounds}`,
    row.gflops !== undefined
      ? `${row.gflops.toFixed(1)} GFLOP/s`
      : row.gigabytes !== undefined
      ? `${row.gigabytes.toFixed(2)} GB/s`
      : row.rate
      ? `${row.rate.perSecond.toFixed(1)} ${row.rate.of}/s`
      : "",
    row.share === undefined ? "" : percent(row.share),
    row.target ? `${targetText(row.target)}${row.reached ? ", reached" : ""}` : "",
  ]);
  return table(["", "ms", "median", "rounds", "speed", "share", "target"], cells);
}

/** Lines of a table: a shape a line, a form a column; names are `shape | form`. */
export function matrixTable(rows: readonly Row[]): string {
  const split = rows.map((row) => ({ row, parts: row.name.split(" | ") }))
    .filter(({ parts }) => parts.length === 2);
  const shapes = [...new Set(split.map(({ parts }) => parts[0]))];
  const forms = [...new Set(split.map(({ parts }) => parts[1]))];
  const cell = (shape: string, form: string) => {
    const found = split.find(({ parts }) => parts[0] === shape && parts[1] === form)?.row;
    if (!found) return "";
    return `${found.gflops!.toFixed(1)} ${percent(found.share!)}${found.reached ? " +" : ""}`;
  };
  return table(
    ["GFLOP/s, share of the ceiling, + target reached", ...forms],
    shapes.map((shape) => [shape, ...forms.map((form) => cell(shape, form))]),
  );
}

/** Cells in columns: the first to the left, the others to the right. */
export function table(head: readonly string[], cells: readonly (readonly string[])[]): string {
  const lines = [head, ...cells];
  const widths = head.map((_, j) => Math.max(...lines.map((line) => line[j].length)));
  return lines.map((line) =>
    line.map((text, j) => j === 0 ? text.padEnd(widths[0]) : text.padStart(widths[j])).join("  ")
      .trimEnd()
  ).join("\n");
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}

function targetText(target: Target): string {
  if ("ms" in target) return `<= ${target.ms} ms`;
  if ("share" in target) return `>= ${percent(target.share)}`;
  return `>= ${target.gflops} GFLOP/s`;
}
