/**
 * Counter-based random numbers: a number is a function of (seed, stream, sample id, position, index) and of nothing else,
 * so that what a sample draws does not depend on its batch, on the order of work or on the adapter.
 *
 * Layout, with T(key, counter) = Threefry-2x32-20:
 * - a row's key is T((seed, stream), (sample id, position)): Threefry is a bijection of the counter, so that rows of one
 *   (seed, stream) never share a key;
 * - normal numbers 2j and 2j + 1 of the row come from T(row key, (j, 0)), its uniform number from T(row key, (0, 1)).
 *
 * Limits: seed, stream, sample id, position are 32-bit words; a row has at most 2^33 normals and one uniform; use
 * another stream for every further purpose. Keys of rows under different (seed, stream) may meet by chance: with n rows
 * in all, once in 2^65 / n^2.
 *
 * Source: Salmon, Moraes, Dror, Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, 2011.
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Tensor } from "../gpu/tensor.ts";
import normalsSource from "../kernels/random_normals.wgsl" with { type: "text" };
import uniformsSource from "../kernels/random_uniforms.wgsl" with { type: "text" };

const normalsKernel = kernel("kernels/random_normals.wgsl", normalsSource);
const uniformsKernel = kernel("kernels/random_uniforms.wgsl", uniformsSource);

/** Two 32-bit words. */
export type Words = readonly [number, number];

/** Which numbers to draw. */
export interface Draw {
  /** The run's seed, a 32-bit word. */
  readonly seed: number;
  /** What the numbers are for, a 32-bit word: one stream per purpose. */
  readonly stream: number;
  /** u32 [N, 2]: (sample id, position) of every row. */
  readonly rows: Tensor;
}

/**
 * Standard normal numbers by Box-Muller; none is beyond 6.8.
 * @param shape [N, D]
 * @returns [N, D]
 * @throws {TypeError} when `rows` is not u32 [N, 2]; {RangeError} when seed or stream is no 32-bit word.
 */
export function normals(g: Graph, shape: readonly [number, number], draw: Draw): Tensor {
  const [rows, dim] = shape;
  checkRows(draw.rows, rows);
  const out = g.empty(shape);
  const { seed, stream } = draw;
  const groups = Math.ceil(rows * Math.ceil(dim / 8) / 64);
  g.run(normalsKernel, { rows: draw.rows, out }, { rows, dim, seed, stream }, groups);
  return out;
}

/**
 * Uniform numbers in [0, 1), multiples of 2^-24, one per row; equal to `uniformOf` bit for bit.
 * @returns [N]
 * @throws {TypeError} when `rows` is not u32 [N, 2]; {RangeError} when seed or stream is no 32-bit word.
 */
export function uniforms(g: Graph, draw: Draw): Tensor {
  const [rows] = draw.rows.shape;
  checkRows(draw.rows, rows);
  const out = g.empty([rows]);
  const { seed, stream } = draw;
  g.run(uniformsKernel, { rows: draw.rows, out }, { rows, seed, stream }, Math.ceil(rows / 64));
  return out;
}

/** Threefry-2x32-20: the words of `counter` under `key`. */
export function threefry(key: Words, counter: Words): Words {
  const keys = [key[0], key[1], 0x1bd11bda ^ key[0] ^ key[1]];
  let x = (counter[0] + key[0]) >>> 0;
  let y = (counter[1] + key[1]) >>> 0;
  for (let block = 1; block <= 5; block++) {
    for (const bits of ROTATIONS[(block - 1) % 2]) {
      x = (x + y) >>> 0;
      y = (((y << bits) | (y >>> (32 - bits))) ^ x) >>> 0;
    }
    x = (x + keys[block % 3]) >>> 0;
    y = (y + keys[(block + 1) % 3] + block) >>> 0;
  }
  return [x, y];
}

const ROTATIONS = [[13, 15, 26, 6], [17, 29, 16, 24]] as const;

/** The key of one row: see the layout above. */
export function rowKey(seed: number, stream: number, sampleId: number, position: number): Words {
  return threefry([seed, stream], [sampleId, position]);
}

/** The uniform number in [0, 1) of a row, as `uniforms` draws it. */
export function uniformOf(row: Words): number {
  return (threefry(row, [0, 1])[0] >>> 8) / 2 ** 24;
}

/** Normal number `index` of a row in float64; `normals` is within float32 rounding of it. */
export function normalOf(row: Words, index: number): number {
  const [a, b] = threefry(row, [Math.floor(index / 2), 0]);
  const radius = Math.sqrt(-2 * Math.log((a + 0.5) / 2 ** 32));
  const angle = 2 * Math.PI * (b + 0.5) / 2 ** 32;
  return radius * (index % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
}

function checkRows(rows: Tensor, count: number): void {
  if (rows.dtype === "u32" && `${rows.shape}` === `${[count, 2]}`) return;
  throw new TypeError(
    `random: rows are ${rows}; expected u32 [${count}, 2], (sample id, position)`,
  );
}
