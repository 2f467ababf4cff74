/**
 * The three matrix products of a linear layer, on rows of weights as checkpoints store them ([out, in]):
 * NT y = x W^T (forward), NN d_x += d_y W (input gradient), TN d_W += d_y^T x (weight gradient).
 *
 * Each runs through `linear_subgroup*.wgsl` where the device and the sizes allow it, else through `linear_tiled.wgsl`,
 * which takes any size. A weight larger than one binding is walked in ranges of rows. All sums have a fixed order.
 */
import type { Graph } from "../autograd/tape.ts";
import { kernel } from "../gpu/kernel.ts";
import { bytesPerElement, type HalfType, isHalf, type Tensor } from "../gpu/tensor.ts";
import columnSumSource from "../kernels/column_sum.wgsl" with { type: "text" };
import subgroupSource from "../kernels/linear_subgroup.wgsl" with { type: "text" };
import tiledSource from "../kernels/linear_tiled.wgsl" with { type: "text" };
import { gpuUnrolledKernel, type UnrolledKernel, unrolledKernel } from "./unroll.ts";
import { chooseLinear, defaultTile, type LinearForm, tileFor } from "./linear_kernels.ts";

const subgroupF32 = unrolledKernel("kernels/linear_subgroup.wgsl", subgroupSource);
const subgroupHalf = { bf16: subgroupTwin("bf16"), f16: subgroupTwin("f16") };
const tiled = gpuUnrolledKernel("kernels/linear_tiled.wgsl", tiledSource);
const columnSumKernel = kernel("kernels/column_sum.wgsl", columnSumSource);

const CHUNK_TOKENS = 256; // of one weight-gradient dispatch: its operands stay in the cache
const ROW_STEP = 256; // rows of a weight range: keeps every offset aligned, whatever the row length
const PARTIAL_BYTES = 64 << 20; // at most, of partial sums that are added in a second dispatch

/** A second product of low rank for the same output: y += z C. */
export interface Appended {
  /** [M, rank] */
  readonly z: Tensor;
  /** [columns of y, rank], or [rank, columns of y] where `byRank`. */
  readonly c: Tensor;
  readonly byRank: boolean;
}

/** What the products take besides their operands. */
export interface ProductOptions {
  /** Add to the output instead of overwriting it. NT: false by default; NN: true by default; TN always adds. */
  readonly accumulate?: boolean;
  /** [columns of y], f32, added to every row (NT). */
  readonly bias?: Tensor;
  /** Factor of the product, without `appended` only. @default {1} */
  readonly scale?: number;
  /** First column of y (NT) or d_y (NN, TN) that belongs to the weight's row 0; a multiple of 4. @default {0} */
  readonly column?: number;
  /** Low-rank product added to the same output (NT, NN). */
  readonly appended?: Appended;
}

/**
 * y (+)= scale x W^T (+ bias) (+ z C).
 * @param x [M, K] f32
 * @param w [N, K] f32, bf16 or f16
 * @param y [M, ldy] f32; N numbers a row from `column` are written, and up to 3 padding columns after them
 */
export function matmulNT(g: Graph, x: Tensor, w: Tensor, y: Tensor, o: ProductOptions = {}): void {
  const [m, k] = x.shape;
  const [n, inner] = w.shape;
  const ldy = y.shape[1];
  const column = o.column ?? 0;
  check(
    inner === k && y.shape[0] === m && column + n <= ldy,
    `matmulNT: x ${x}, w ${w}, y ${y} from column ${column} do not fit y = x w^T`,
  );
  if (o.appended && isLarge(g, w)) {
    return appendedApart(g, y, o, () => matmulNT(g, x, w, y, plain(o)));
  }
  for (const [begin, end] of rowRanges(g, w)) {
    product(g, isHalf(w.dtype) ? "ntHalf" : "nt", {
      a: x,
      b: w.rows(begin, end),
      y,
      m,
      n: end - begin,
      k,
      lda: k,
      ldb: k,
      aOffset: 0,
      yOffset: column + begin,
      bias: o.bias?.rows(begin, end),
      scale: o.scale ?? 1,
      accumulate: o.accumulate ?? false,
      appended: o.appended,
    });
  }
}

/**
 * d_x += d_y W (+ z C); overwrites with `accumulate: false`.
 * @param dy [M, ldy] f32; N numbers a row from `column` are read, padding columns up to a multiple of 4 must be zeros
 * @param w [N, K] f32, bf16 or f16
 * @param dx [M, K] f32
 */
export function matmulNN(
  g: Graph,
  dy: Tensor,
  w: Tensor,
  dx: Tensor,
  o: ProductOptions = {},
): void {
  const [m, ldy] = dy.shape;
  const [n, k] = w.shape;
  const column = o.column ?? 0;
  check(
    dx.shape[0] === m && dx.shape[1] === k && column + n <= ldy,
    `matmulNN: dy ${dy} from column ${column}, w ${w}, dx ${dx} do not fit dx = dy w`,
  );
  if (o.appended && isLarge(g, w)) {
    return appendedApart(g, dx, o, () => matmulNN(g, dy, w, dx, plain(o)));
  }
  for (const [begin, end] of rowRanges(g, w)) {
    product(g, isHalf(w.dtype) ? "nnHalf" : "nn", {
      a: dy,
      b: w.rows(begin, end),
      y: dx,
      m,
      n: k,
      k: end - begin,
      lda: ldy,
      ldb: k,
      aOffset: column + begin,
      yOffset: 0,
      scale: o.scale ?? 1,
      accumulate: begin > 0 || (o.accumulate ?? true),
      appended: o.appended,
    });
  }
}

/**
 * d_W += d_y^T x.
 * @param dy [M, ldy] f32; N numbers a row from `column` are read
 * @param x [M, K] f32
 * @param dw [N, K] f32
 */
export function matmulTN(
  g: Graph,
  dy: Tensor,
  x: Tensor,
  dw: Tensor,
  o: Pick<ProductOptions, "column" | "scale"> = {},
): void {
  const [m, ldy] = dy.shape;
  const [n, k] = dw.shape;
  const column = o.column ?? 0;
  check(
    x.shape[0] === m && x.shape[1] === k && column + n <= ldy,
    `matmulTN: dy ${dy} from column ${column}, x ${x}, dw ${dw} do not fit dw = dy^T x`,
  );
  for (const [begin, end] of rowRanges(g, dw)) {
    product(g, "tn", {
      a: dy,
      b: x,
      y: dw.rows(begin, end),
      m: end - begin,
      n: k,
      k: m,
      lda: ldy,
      ldb: k,
      aOffset: column + begin,
      yOffset: 0,
      scale: o.scale ?? 1,
      accumulate: true,
    });
  }
}

/**
 * out += the sum of the rows of x: the gradient of a bias.
 * @param x [M, ldx] f32, of which `out.size` columns are summed
 * @param out [N] f32
 */
export function columnSum(g: Graph, x: Tensor, out: Tensor): void {
  const [rows, ldx] = x.shape;
  if (rows === 0) return;
  const partRows = Math.max(16, Math.ceil(Math.sqrt(rows)));
  const parts = Math.ceil(rows / partRows);
  if (parts === 1) return addRows(g, x, out, rows, ldx, rows, 1, true);
  const partial = g.empty([parts, out.size]);
  addRows(g, x, partial, rows, ldx, partRows, parts, false);
  addRows(g, partial, out, parts, out.size, parts, 1, true);
  g.scope.release(partial);
}

function addRows(
  g: Graph,
  x: Tensor,
  out: Tensor,
  rows: number,
  ldx: number,
  part_rows: number,
  parts: number,
  accumulate: boolean,
): void {
  const columns = out.size / parts;
  const groups = Math.ceil(columns / 64);
  const y = Math.ceil(groups / g.gpu.limits.maxWorkgroups);
  const params = { rows, columns, ldx, part_rows, accumulate: Number(accumulate) };
  g.run(columnSumKernel, { x, out }, params, [Math.ceil(groups / y), y, parts]);
}

/** One product y (+)= scale a b + bias (+ z c) after the choice of ranges: sizes and leading dimensions of its form. */
interface Product {
  readonly a: Tensor;
  readonly b: Tensor;
  readonly y: Tensor;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly lda: number;
  readonly ldb: number;
  readonly aOffset: number;
  readonly yOffset: number;
  readonly bias?: Tensor;
  readonly scale: number;
  readonly accumulate: boolean;
  readonly appended?: Appended;
}

function product(g: Graph, form: LinearForm, p: Product): void {
  if (p.m === 0 || p.n === 0) return;
  const { appended, ...base } = p;
  const subgroup = chooseLinear(g.gpu).form === "subgroup" && fitsSubgroup(form, p);
  if (subgroup && (!appended || fitsAppended(p, appended))) return runSubgroup(g, form, p);
  if (subgroup) runSubgroup(g, form, base);
  else runTiled(g, form, base);
  if (appended) runAppended(g, p.y, appended);
}

function fitsSubgroup(form: LinearForm, p: Product): boolean {
  const rowsOfK = form === "nt" || form === "ntHalf" ? [p.k] : [p.n];
  const sizes = [p.lda, p.ldb, p.y.shape[1], p.aOffset, p.yOffset, ...rowsOfK];
  return p.k > 0 && sizes.every((size) => size % 4 === 0);
}

function fitsAppended(p: Product, { z, byRank }: Appended): boolean {
  return z.shape[1] % 4 === 0 && (!byRank || p.n % 4 === 0);
}

function runSubgroup(g: Graph, form: LinearForm, p: Product): void {
  const tile = tileFor(chooseLinear(g.gpu).tiles[form] ?? defaultTile(form), form, p.m, p.n);
  const { a, b, y, appended } = p;
  const z = appended?.z ?? a;
  const tensors = { a, b, z, c: appended?.c ?? a, bias: p.bias ?? a, y };
  const grid = [Math.ceil(p.m / tile.R), Math.ceil(p.n / (8 * tile.C)), 1] as const;
  const constants = {
    GROUPS: tile.R / 8,
    QUADS: tile.C / 4,
    A_BY_K: form === "tn",
    B_BY_K: form === "nn" || form === "nnHalf" || form === "tn",
    C_BY_K: appended?.byRank ?? false,
    APPENDED: appended !== undefined,
    ACCUMULATE: p.accumulate,
  };
  const made = (isHalf(b.dtype) ? subgroupHalf[b.dtype] : subgroupF32)(constants);
  const step = form === "tn" ? CHUNK_TOKENS : p.k;
  for (let k_begin = 0; k_begin < p.k; k_begin += step) {
    const params = {
      m: p.m,
      n: p.n,
      k_begin,
      k_end: Math.min(p.k, k_begin + step),
      lda: p.lda,
      ldb: p.ldb,
      ldy: y.shape[1],
      a_offset: p.aOffset,
      y_offset: p.yOffset,
      rank: appended ? z.shape[1] : 0,
      scale: p.scale,
      has_bias: Number(p.bias !== undefined),
    };
    g.run(made, tensors, params, grid);
  }
}

function runTiled(g: Graph, form: LinearForm, p: Product): void {
  const aByK = form === "tn";
  const bByK = form !== "nt" && form !== "ntHalf";
  const ldy = p.y.shape[1];
  const tiles = [Math.ceil(p.n / 64), Math.ceil(p.m / 64)] as const;
  const parts = ldy === p.n && p.yOffset === 0 ? partsFor(p, tiles[0] * tiles[1]) : 1;
  const k_part = Math.ceil(Math.max(1, p.k) / parts);
  const out = parts > 1 ? g.empty([parts, p.m * p.n]) : p.y;
  const params = {
    m: p.m,
    n: p.n,
    k: p.k,
    a_row: aByK ? 1 : p.lda,
    a_k: aByK ? p.lda : 1,
    a_offset: p.aOffset,
    b_k: bByK ? p.ldb : 1,
    b_col: bByK ? 1 : p.ldb,
    ldy,
    y_offset: p.yOffset,
    k_part,
    y_part: p.m * p.n,
    scale: p.scale,
    has_bias: Number(p.bias !== undefined),
    accumulate: Number(parts === 1 && p.accumulate),
  };
  const { dtype } = p.b;
  const types = { BF16: dtype === "bf16", F16: dtype === "f16" };
  const made = tiled(g.gpu, { ...types, A_BY_K: aByK, B_BY_K: bByK });
  const tensors = { a: p.a, b: p.b, bias: p.bias ?? p.a, y: out };
  g.run(made.kernel, tensors, params, [tiles[0], tiles[1], parts], made.constants);
  if (parts === 1) return;
  addRows(g, out, p.y, parts, p.m * p.n, parts, 1, p.accumulate);
  g.scope.release(out);
}

/** In how many parts the sum over k is split, so that a product with few tiles still fills a GPU. */
function partsFor(p: Product, tiles: number): number {
  const wanted = Math.min(Math.floor(p.k / 256), Math.floor(256 / tiles));
  const allowed = Math.floor(PARTIAL_BYTES / (p.m * p.n * 4));
  return Math.max(1, Math.min(wanted, allowed));
}

function runAppended(g: Graph, y: Tensor, { z, c, byRank }: Appended): void {
  if (byRank) matmulNN(g, z, c, y);
  else matmulNT(g, z, c, y, { accumulate: true });
}

function appendedApart(g: Graph, y: Tensor, o: ProductOptions, base: () => void): void {
  base();
  if (o.appended) runAppended(g, y, o.appended);
}

function plain({ appended: _, ...rest }: ProductOptions): ProductOptions {
  return rest;
}

function isLarge(g: Graph, w: Tensor): boolean {
  return w.byteLength > g.gpu.limits.maxBinding;
}

/** Ranges of rows that fit a binding and begin at an aligned byte. */
function rowRanges(g: Graph, w: Tensor): [number, number][] {
  const rows = w.shape[0];
  if (!isLarge(g, w)) return [[0, rows]];
  const rowBytes = w.shape[1] * bytesPerElement(w.dtype);
  const most = Math.floor(g.gpu.limits.maxBinding / rowBytes / ROW_STEP) * ROW_STEP;
  check(most > 0, `linear: ${ROW_STEP} rows of ${w} exceed this adapter's largest binding`);
  const ranges: [number, number][] = [];
  for (let begin = 0; begin < rows; begin += most) {
    ranges.push([begin, Math.min(rows, begin + most)]);
  }
  return ranges;
}

function check(condition: boolean, message: string): void {
  if (!condition) throw new TypeError(message);
}

/** `linear_subgroup.wgsl` for a b of 16 bits, widened exactly: a bf16 is the upper half of its float32. */
function subgroupTwin(dtype: HalfType): UnrolledKernel {
  const widened = {
    bf16: "bitcast<vec4<f32>>" +
      "(vec4<u32>(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u))",
    f16: "vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y))",
  };
  const path = "kernels/linear_subgroup.wgsl";
  const lines = {
    "b: array<vec4<f32>>;": "b: array<vec2<u32>>;",
    "{ return b[i]; }": `{ let w = b[i]; return ${widened[dtype]}; }`,
  };
  const text = Object.entries(lines).reduce((text, [line, twin]) => {
    check(text.includes(line), `${path}: '${line}' is missing`);
    return text.replace(line, twin);
  }, subgroupSource);
  return unrolledKernel(`${path} (${dtype})`, text);
}
