/**
 * Seeded random numbers for data: small, 32-bit, the same on every machine and in every language.
 *
 * mulberry32 (T. Ettinger, public domain). The numbers that a model draws come from the device instead (ops/), keyed
 * by counters; this generator only makes and orders data.
 */

/** A stream of random numbers that its seed fixes. */
export class Random {
  #state: number;

  /** @param seed any integer; its lowest 32 bits count */
  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** @returns the next number, uniform on [0, 1), a multiple of 2^-32 */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), 1 | t);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** @returns the next integer, uniform on low..high, both ends included */
  integer(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  /** @returns one of `items` (a string gives one of its characters), each as likely as the others */
  pick<T>(items: ArrayLike<T>): T {
    return items[Math.floor(this.next() * items.length)];
  }

  /** @returns an index of `weights`, drawn with probability weight / sum of the weights */
  weighted(weights: readonly number[]): number {
    let x = this.next() * weights.reduce((sum, weight) => sum + weight, 0);
    for (let i = 0; i < weights.length; i++) {
      if (x < weights[i]) return i;
      x -= weights[i];
    }
    return 0;
  }
}

/**
 * Mixes two integers into a seed, so that neighbouring pairs give unrelated streams (the finaliser of MurmurHash3).
 * @returns an unsigned 32-bit integer
 */
export function mixSeeds(a: number, b: number): number {
  return finalise(finalise(a) ^ Math.imul(b + 1, 0x9e3779b1));
}

function finalise(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
