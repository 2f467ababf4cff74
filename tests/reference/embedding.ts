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

/** The number that 16 bits of IEEE 754's binary16 stand for. */
export function f16Value(bits: number): number {
  const [sign, exponent, mantissa] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + mantissa / 1024) * 2 ** (exponent - 15) : mantissa * 2 ** -24);
}
