/** The embedding of token ids: rows of a table, f32, or bf16 or f16 as published, of any size. */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import { isHalf, type Tensor } from "../gpu/tensor.ts";
import vectorSource from "../kernels/embedding_half_forward.wgsl" with { type: "text" };
import scalarSource from "../kernels/embedding_half_scalar_forward.wgsl" with { type: "text" };
import {
  checkIndex,
  gatherRows,
  onDevice,
  rangeParams,
  type RowIndex,
  rowRanges,
} from "./gather.ts";

const scalar = kernel("kernels/embedding_half_scalar_forward.wgsl", scalarSource);
const vector = kernel("kernels/embedding_half_forward.wgsl", vectorSource);

/** How a table is bound. */
export interface EmbeddingOptions {
  /** Bytes of the table that are bound at once. @default the adapter's limit */
  readonly maxBinding?: number;
}

/**
 * The rows of `table` that the ids name.
 * @param table [V, D] f32, or bf16 or f16 (frozen: it has no gradient)
 * @param ids [M]: on the host, prepared with `gatherIndex`, or a u32 tensor, which is clamped to V - 1 (no gradient)
 * @returns [M, D] f32
 * @throws {TypeError} for another shape or type, {RangeError} when an id is not below V.
 */
export function embedding(
  g: Graph,
  table: Tensor,
  ids: RowIndex,
  { maxBinding = g.gpu.limits.maxBinding }: EmbeddingOptions = {},
): Tensor {
  if (table.shape.length !== 2 || (table.dtype !== "f32" && !isHalf(table.dtype))) {
    throw new TypeError(`embedding: table is ${table}; expected [V, D] f32, bf16 or f16`);
  }
  if (ids instanceof Uint32Array) checkIndex("embedding: token id", ids, table.shape[0]);
  if (table.dtype === "f32") return gatherRows(g, table, ids, maxBinding);
  g.forwardOnly(`embedding from a ${table.dtype} table`, [table]);
  const index = onDevice(g, "embedding", table, ids);
  const [count, dim] = [index.size, table.shape[1]];
  const out = g.empty([count, dim]);
  const whole = dim % 4 === 0;
  const constants = { F16: table.dtype === "f16" };
  for (const range of count > 0 ? rowRanges(g, table, maxBinding) : []) {
    const tensors = { table: table.rows(range.begin, range.end), ids: index, out };
    const params = { count, width: whole ? dim / 4 : dim, ...rangeParams(table, range) };
    g.run(whole ? vector : scalar, tensors, params, Math.ceil(count / 8), constants);
  }
  return out;
}
