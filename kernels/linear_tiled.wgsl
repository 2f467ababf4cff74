// y (+)= scale a b (+ bias), any sizes and strides, through tiles of 64 x 64 in workgroup memory.
// a [M, k] with element (row, k) at a_offset + row a_row + k a_k; b [k, N] with (k, col) at k b_k + col b_col; y
// [M, ldy] f32. BF16, F16: b is of that type, two numbers to a word, widened exactly. A_BY_K and B_BY_K say which neighbours lie
// side by side in memory (columns of one k, else k of one row), so that neighbouring threads load neighbouring words.
// Dispatch: [ceil(N / 64), ceil(M / 64), parts]: part p sums k from p k_part to (p + 1) k_part and writes its own
// y at p y_part, to be added in order by column_sum; the bias is in part 0. 64 threads, 8 x 8 sums each, which stay in
// registers only where every index is a number: GPUs run it with the marked loops written out.
struct Params {
  m: u32, n: u32, k: u32, a_row: u32, a_k: u32, a_offset: u32, b_k: u32, b_col: u32, ldy: u32, y_offset: u32,
  k_part: u32, y_part: u32, scale: f32, has_bias: u32, accumulate: u32,
}
const BF16: bool = false;
const F16: bool = false;
const A_BY_K: bool = false;
const B_BY_K: bool = false;
alias Bits = u32;
const STEP: u32 = 16u;
const LOADS: u32 = 4u; // of a thread, in either tile
const HALF: u32 = 8u; // of the rows of a thread, and of a step
const PITCH: u32 = 17u; // of a tile's k in vec4: one more than its 16, against bank conflicts
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<Bits>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
var<workgroup> tile_a: array<vec4<f32>, 272>;
var<workgroup> tile_b: array<vec4<f32>, 272>;

// Outside of the matrix the word 0 is loaded and dropped: no branch stands before a load.
fn load_a(row: u32, k: u32, end: u32) -> f32 {
  let inside = row < params.m && k < end;
  let value = a[select(0u, params.a_offset + row * params.a_row + k * params.a_k, inside)];
  return select(0.0, value, inside);
}

fn load_b(k: u32, col: u32, end: u32) -> f32 {
  let inside = col < params.n && k < end;
  let at = select(0u, k * params.b_k + col * params.b_col, inside);
  var bits = b[select(at, at / 2u, BF16 || F16)];
  if (BF16) { bits = select(bits << 16u, bits & 0xffff0000u, (at & 1u) == 1u); }
  if (F16) {
    let pair = bitcast<vec2<u32>>(unpack2x16float(bits));
    bits = select(pair.x, pair.y, (at & 1u) == 1u);
  }
  return select(0.0, bitcast<f32>(bits), inside);
}

fn store(row: u32, col: u32, part: u32, sum: vec4<f32>) {
  if (row >= params.m) { return; }
  let at = part * params.y_part + params.y_offset + row * params.ldy + col;
  for (var i = 0u; i < 4u; i++) {
    if (col + i >= params.n) { return; }
    var out = params.scale * sum[i];
    if (params.has_bias != 0u && part == 0u) { out += bias[col + i]; }
    if (params.accumulate != 0u) { out += y[at + i]; }
    y[at + i] = out;
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let row = group.y * 64u;
  let col = group.x * 64u;
  let end = min((group.z + 1u) * params.k_part, params.k);
  let ty = thread / 8u;
  let tx = thread & 7u;
  let low = thread & 15u;
  let high = thread / 16u;
  var left: array<vec4<f32>, 8>;
  var right: array<vec4<f32>, 8>;
  for (var k = group.z * params.k_part; k < end; k += STEP) {
    for (var i = 0u; i < LOADS; i++) { // unroll
      let ka = select(low, high + 4u * i, A_BY_K);
      let qa = select(high + 4u * i, low, A_BY_K);
      let ra = row + 4u * qa;
      tile_a[ka * PITCH + qa] = vec4<f32>(
        load_a(ra, k + ka, end), load_a(ra + 1u, k + ka, end), load_a(ra + 2u, k + ka, end), load_a(ra + 3u, k + ka, end),
      );
      let kb = select(low, high + 4u * i, B_BY_K);
      let qb = select(high + 4u * i, low, B_BY_K);
      let cb = col + 4u * qb;
      tile_b[kb * PITCH + qb] = vec4<f32>(
        load_b(k + kb, cb, end), load_b(k + kb, cb + 1u, end), load_b(k + kb, cb + 2u, end), load_b(k + kb, cb + 3u, end),
      );
    }
    workgroupBarrier();
    for (var half = 0u; half < STEP; half += HALF) {
      for (var kk = 0u; kk < HALF; kk++) { // unroll
        let at = (half + kk) * PITCH;
        let a0 = tile_a[at + ty];
        let a1 = tile_a[at + 8u + ty];
        let b0 = tile_b[at + tx];
        let b1 = tile_b[at + 8u + tx];
        left[0] += a0.x * b0;
        right[0] += a0.x * b1;
        left[1] += a0.y * b0;
        right[1] += a0.y * b1;
        left[2] += a0.z * b0;
        right[2] += a0.z * b1;
        left[3] += a0.w * b0;
        right[3] += a0.w * b1;
        left[4] += a1.x * b0;
        right[4] += a1.x * b1;
        left[5] += a1.y * b0;
        right[5] += a1.y * b1;
        left[6] += a1.z * b0;
        right[6] += a1.z * b1;
        left[7] += a1.w * b0;
        right[7] += a1.w * b1;
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < HALF; i++) { // unroll
    let r = row + 4u * ty + (i & 3u) + 32u * (i / 4u);
    store(r, col + 4u * tx, group.z, left[i]);
    store(r, col + 32u + 4u * tx, group.z, right[i]);
  }
}
