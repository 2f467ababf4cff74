/** Rows laid end to end, as a plain loop. */

/** One array after another. */
export function concat(arrays: readonly Float64Array[]): Float64Array {
  return Float64Array.from(arrays.flatMap((a) => [...a]));
}
