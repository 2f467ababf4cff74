/** Seeded random numbers for tests: the same on every machine. */

/** Uniform numbers in [0, 1) from a 32-bit seed (mulberry32, T. Ettinger, public domain). */
export function uniforms(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** `count` standard normal numbers, each exactly a float32. */
export function normals(seed: number, count: number, scale = 1): Float32Array {
  const next = uniforms(seed);
  return Float32Array.from(
    { length: count },
    () => scale * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  );
}
