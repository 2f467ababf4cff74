/**
 * Rows by index, and their gradient without atomics: the host turns the index around, so that each source row sums
 * what its uses received, in ascending order, and a second run gives the same bits.
 */
import type { Graph } from "../autograd/tape.ts";
import type { Scope } from "../gpu/pool.ts";
import { bytesPerElement, sizeOf, Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/gather_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/gather_forward.wgsl" with { type: "text" };
import { byWidth } from "./element_width.ts";
import { gradientTarget } from "./gradient_target.ts";

const backward = byWidth("kernels/gather_backward.wgsl", backwardSource);
const forward = byWidth("kernels/gather_forward.wgsl", forwardSource);

/** An index on the device with what its gradient needs; made once, ahead of the step, for several uses. */
export interface GatherIndex {
  /** [M] u32: the source row of each output row. */
  readonly index: Tensor;
  /** [U] u32: the distinct source rows, ascending. */
  readonly usedRows: Tensor;
  /** [U + 1] u32: where the output rows of each used row begin in `inverseEntries`. */
  readonly inverseOffsets: Tensor;
  /** [M] u32: output rows, sorted by source row, ascending inside it. */
  readonly inverseEntries: Tensor;
  /** Number of source rows that the index was checked against. */
  readonly numRows: number;
}

/** How rows are chosen: an array that is checked here, a prepared index, or numbers that only the device knows. */
export type RowIndex = Uint32Array | GatherIndex | Tensor;

/** A range of rows that fits one binding. */
export interface RowRange {
  readonly begin: number;
  readonly end: number;
}

/**
 * Uploads an index and its inverse.
 * @param scope where the tensors live
 * @param index [M] source rows
 * @param numRows number of rows that there are
 * @throws {RangeError} when an index is not below `numRows`.
 */
export function gatherIndex(scope: Scope, index: Uint32Array, numRows: number): GatherIndex {
  checkIndex("gatherIndex: index", index, numRows);
  const { usedRows, offsets, entries } = inverseLists(index, numRows);
  return {
    index: scope.upload(index),
    usedRows: scope.upload(usedRows),
    inverseOffsets: scope.upload(offsets),
    inverseEntries: scope.upload(entries),
    numRows,
  };
}

/**
 * Rows of `x` by index; a row may be used any number of times.
 * @param x [N, D] f32
 * @param index [M]: on the host, prepared, or a u32 tensor whose values are clamped to N - 1 (no gradient)
 * @returns [M, D]
 * @throws {TypeError} for another shape or type, {RangeError} when an index is not below N.
 */
export function gather(g: Graph, x: Tensor, index: RowIndex): Tensor {
  if (x.shape.length !== 2 || x.dtype !== "f32") {
    throw new TypeError(`gather: x is ${x}; expected [N, D] f32`);
  }
  if (index instanceof Uint32Array) checkIndex("gather: index", index, x.shape[0]);
  return gatherRows(g, x, index, g.gpu.limits.maxBinding);
}

/**
 * `gather` for a source that may be larger than one binding; a host index must have been checked.
 * @param maxBinding bytes that are bound at once
 */
export function gatherRows(g: Graph, x: Tensor, rows: RowIndex, maxBinding: number): Tensor {
  const dim = x.shape[1];
  const index = onDevice(g, "gather", x, rows);
  const count = index.size;
  const out = g.empty([count, dim]);
  const lanes = dim % 4 === 0 ? 4 : 1;
  for (const range of count > 0 ? rowRanges(g, x, maxBinding) : []) {
    const part = x.rows(range.begin, range.end);
    const params = { count, width: dim / lanes, ...rangeParams(x, range) };
    g.run(forward(lanes), { x: part, index, out }, params, Math.ceil(count / 8));
  }
  if (rows instanceof Tensor) return out;
  return g.record(out, [x], (d_out) => scatterAdd(g, x, d_out, rows, maxBinding));
}

/** The parameters by which a kernel knows the rows of `x` that are bound. */
export function rangeParams(x: Tensor, { begin, end }: RowRange) {
  return { first_row: begin, num_rows: end - begin, last_row: x.shape[0] - 1 };
}

/**
 * The index as a tensor, uploaded if it is on the host.
 * @throws {TypeError} when it was prepared for another number of rows, or has no gradient but needs one.
 */
export function onDevice(g: Graph, operation: string, x: Tensor, rows: RowIndex): Tensor {
  if (rows instanceof Tensor) {
    if (rows.dtype !== "u32") throw new TypeError(`${operation}: index is ${rows}; expected u32`);
    g.forwardOnly(`${operation} by an index on the device`, [x]);
    return rows;
  }
  if (rows instanceof Uint32Array) return g.scope.upload(rows);
  if (rows.numRows !== x.shape[0]) {
    const prepared = `prepared for ${rows.numRows} rows`;
    throw new TypeError(`${operation}: the index was ${prepared}, but the rows are ${x}`);
  }
  return rows.index;
}

/** Ranges of rows that can be bound: one, or several that begin where the adapter can bind. */
export function rowRanges(g: Graph, x: Tensor, maxBinding: number): RowRange[] {
  const [numRows, ...rest] = x.shape;
  if (x.byteLength <= maxBinding) return [{ begin: 0, end: numRows }];
  const rowBytes = sizeOf(rest) * bytesPerElement(x.dtype);
  const alignment = g.gpu.limits.storageAlignment;
  let step = 1;
  while ((step * rowBytes) % alignment !== 0) step++;
  const most = Math.floor((maxBinding - maxBinding % 16) / rowBytes / step) * step;
  if (most === 0) throw new RangeError(`${x}: ${step} rows do not fit ${maxBinding} bytes at once`);
  return Array.from({ length: Math.ceil(numRows / most) }, (_, i) => ({
    begin: i * most,
    end: Math.min((i + 1) * most, numRows),
  }));
}

/**
 * Refuses an index that names no row.
 * @param what how the message begins
 * @throws {RangeError} naming the index, its position and the number of rows.
 */
export function checkIndex(what: string, index: Uint32Array, numRows: number): void {
  const at = index.findIndex((row) => row >= numRows);
  if (at >= 0) {
    throw new RangeError(
      `${what} ${index[at]} at position ${at} must be below the number of rows, ${numRows}`,
    );
  }
}

/** For each source row that is used, ascending: the output rows that used it, ascending. */
export function inverseLists(index: Uint32Array, numRows: number): {
  usedRows: Uint32Array;
  offsets: Uint32Array;
  entries: Uint32Array;
} {
  const counts = new Uint32Array(numRows);
  for (const row of index) counts[row]++;
  const usedRows = Uint32Array.from(new Set(index)).sort();
  const offsets = new Uint32Array(usedRows.length + 1);
  const next = counts; // from here on: where the row's next entry goes
  usedRows.forEach((row, u) => {
    offsets[u + 1] = offsets[u] + counts[row];
    next[row] = offsets[u];
  });
  const entries = new Uint32Array(index.length);
  index.forEach((row, m) => entries[next[row]++] = m);
  return { usedRows, offsets, entries };
}

function scatterAdd(
  g: Graph,
  x: Tensor,
  d_out: Tensor,
  rows: Uint32Array | GatherIndex,
  maxBinding: number,
): void {
  if (d_out.size === 0) return;
  const { usedRows, inverseOffsets, inverseEntries } = rows instanceof Uint32Array
    ? gatherIndex(g.scope, rows, x.shape[0])
    : rows;
  const { gradient, accumulate } = gradientTarget(g, x);
  const dim = x.shape[1];
  const lanes = dim % 4 === 0 ? 4 : 1;
  const count = usedRows.size;
  const lists = { used_rows: usedRows, offsets: inverseOffsets, entries: inverseEntries };
  for (const { begin, end } of rowRanges(g, x, maxBinding)) {
    const tensors = { d_out, ...lists, d_x: gradient.rows(begin, end) };
    const params = { count, width: dim / lanes, first_row: begin, num_rows: end - begin };
    g.run(backward(lanes), tensors, params, Math.ceil(count / 8), { accumulate });
  }
}
