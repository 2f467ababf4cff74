/** Dropout as a plain float64 loop, under the mask that the key gives. */
import { threefry, type Words } from "../../ops/random.ts";

/** x / (1 - rate) where the element's random word is at least rate * 2^32, else 0. */
export function dropout(x: ArrayLike<number>, rate: number, key: Words): Float64Array {
  return Float64Array.from(x, (value, i) => {
    const word = threefry(key, [Math.floor(i / 2), 3])[i % 2];
    return word >= Math.floor(rate * 2 ** 32) ? value / (1 - rate) : 0;
  });
}
