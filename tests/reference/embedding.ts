/** The embedding of token ids as plain loops. */
import { gather } from "./gather.ts";

/** Rows `ids` of table [V, dim]. */
export function embedding(table: Float64Array, dim: number, ids: ArrayLike<number>): Float64Array {
  return gather(table, dim, ids);
}

/** The number that 16 bits of bf16 stand for. */
export function bf16Value(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0];
}
