// y (+)= scale a b (+ bias), any sizes and strides, through tiles of 64 x 64 in workgroup memory.
// a [M, k] with element (row, k) at a_offset + row a_row + k a_k; b [k, N] with (k, col) at k b_k + col b_col; y
// [M, ldy] f32. BF16: b is bf16, two numbers to a word, widened exactly. A_BY_K and B_BY_K say which neighbours lie
// side by side in memory (columns of one k, else k of one row), so that neighbouring threads load neighbouring words.
// Dispatch: [ceil(N / 64), ceil(M / 64), parts]: part p sums k from p k_part to (p + 1) k_part and writes its own
// y at p y_part, to be added in order by column_sum; the bias is in part 0. 64 threads, 8 x 8 sums each.
struct Params {
  m: u32, n: u32, k: u32, a_row: u32, a_k: u32, a_offset: u32, b_k: u32, b_col: u32, ldy: u32, y_offset: u32,
  k_part: u32, y_part: u32, scale: f32, has_bias: u32, accumulate: u32,
}
override BF16: bool = false;
override A_BY_K: bool = false;
override B_BY_K: bool = false;
alias Bits = u32;
const STEP: u32 = 16u;
const PITCH: u32 = 17u; // of a tile's k in vec4: one more than its 16, against bank conflicts
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<Bits>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
var<workgroup> tile_a: array<vec4<f32>, 272>;
var<workgroup> tile_b: array<vec4<f32>, 272>;

fn load_a(row: u32, k: u32, end: u32) -> f32 {
  if (row >= params.m || k >= end) { return 0.0; }
  return a[params.a_offset + row * params.a_row + k * params.a_k];
}

fn load_b(k: u32, col: u32, end: u32) -> f32 {
  if (col >= params.n || k >= end) { return 0.0; }
  let at = k * params.b_k + col * params.b_col;
  if (!BF16) { return bitcast<f32>(b[at]); }
  let word = b[at / 2u];
  return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (at & 1u) == 1u));
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
    for (var i = 0u; i < 16u; i += 4u) {
      let ka = k + select(low, high + i, A_BY_K);
      let qa = select(high + i, low, A_BY_K);
      let ra = row + 4u * qa;
      tile_a[(ka - k) * PITCH + qa] = vec4<f32>(
        load_a(ra, ka, end), load_a(ra + 1u, ka, end), load_a(ra + 2u, ka, end), load_a(ra + 3u, ka, end),
      );
      let kb = k + select(low, high + i, B_BY_K);
      let qb = select(high + i, low, B_BY_K);
      let cb = col + 4u * qb;
      tile_b[(kb - k) * PITCH + qb] = vec4<f32>(
        load_b(kb, cb, end), load_b(kb, cb + 1u, end), load_b(kb, cb + 2u, end), load_b(kb, cb + 3u, end),
      );
    }
    workgroupBarrier();
    for (var kk = 0u; kk < STEP; kk++) {
      let at = kk * PITCH;
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
    workgroupBarrier();
  }
  for (var i = 0u; i < 8u; i++) {
    let r = row + 4u * ty + (i & 3u) + 32u * (i / 4u);
    store(r, col + 4u * tx, group.z, left[i]);
    store(r, col + 32u + 4u * tx, group.z, right[i]);
  }
}
