// y (+)= scale (a b + z c) + bias: the second product is appended to the loop over k, so that y is written once.
// a is [M, lda], or [k, lda] with A_BY_K; b is [N, ldb], or [k, ldb] with B_BY_K; z [M, rank]; c [N, rank], or
// [rank, N] with C_BY_K; y [M, ldy]. Forward NT: y = x W^T. Input gradient NN: d_x += d_y W. Weight gradient TN:
// d_W += d_y^T x over the tokens k_begin to k_end.
// One workgroup is one subgroup of 8 lanes: a tile of R rows (8 to 64) and 8 C columns (C = 4, 8), C consecutive
// columns a lane. A lane loads four k of its own rows and of its own columns; rows reach the other lanes by broadcast.
// Dispatch: [ceil(M / R), ceil(N / 8 C)]. Leading dimensions, offsets, rank, and k where a or b is not BY_K, must be
// multiples of 4; padding columns of a are zeros, those of y get finite numbers. Loads dominate on llvmpipe: one step
// is (R / 8 + C) loads for 4 R C multiply-adds of 8 lanes, and the four products of a sum stay in one statement.
struct Params {
  m: u32, n: u32, k_begin: u32, k_end: u32, lda: u32, ldb: u32, ldy: u32, a_offset: u32, y_offset: u32,
  rank: u32, scale: f32, has_bias: u32,
}
const R: u32 = 32u;
const C: u32 = 8u;
const A_BY_K: bool = false;
const B_BY_K: bool = false;
const C_BY_K: bool = false;
const APPENDED: bool = false;
const ACCUMULATE: bool = false;
alias Columns = mat2x4<f32>; // C columns of one row; the second half is unused when C is 4
alias Rows = array<Columns, 8>;
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> c: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

fn load_b(i: u32) -> vec4<f32> { return (b[i]); }

// Where this lane's row of group g of 8 begins in a. A_BY_K: its four rows of group g, one beside the other.
fn place_a(row: u32, lane: u32, g: u32) -> u32 {
  let last = params.m - 1u;
  if (A_BY_K) { return params.a_offset / 4u + min(row / 4u + lane + 2u * g, last / 4u); }
  return params.a_offset / 4u + min(row + lane + 8u * g, last) * (params.lda / 4u);
}

// Four k of the four rows at `at`, one vector a row; k past the end count as zeros.
fn block_a(k: u32, at: u32) -> mat4x4<f32> {
  let ld = params.lda / 4u;
  let last = params.k_end - 1u;
  let zero = vec4<f32>();
  return transpose(mat4x4<f32>(
    a[k * ld + at],
    select(zero, a[min(k + 1u, last) * ld + at], k + 1u <= last),
    select(zero, a[min(k + 2u, last) * ld + at], k + 2u <= last),
    select(zero, a[min(k + 3u, last) * ld + at], k + 3u <= last),
  ));
}

// b[k .. k + 3][col .. col + 3], one vector of columns for each k.
fn block_b(k: u32, col: u32) -> mat4x4<f32> {
  let ld = params.ldb / 4u;
  if (B_BY_K) {
    let at = min(col / 4u, ld - 1u);
    let last = params.k_end - 1u;
    return mat4x4<f32>(
      load_b(min(k, last) * ld + at), load_b(min(k + 1u, last) * ld + at),
      load_b(min(k + 2u, last) * ld + at), load_b(min(k + 3u, last) * ld + at),
    );
  }
  let at = k / 4u;
  let last = params.n - 1u;
  return transpose(mat4x4<f32>(
    load_b(min(col, last) * ld + at), load_b(min(col + 1u, last) * ld + at),
    load_b(min(col + 2u, last) * ld + at), load_b(min(col + 3u, last) * ld + at),
  ));
}

fn block_c(k: u32, col: u32) -> mat4x4<f32> {
  if (C_BY_K) {
    let ld = params.n / 4u;
    let at = min(col / 4u, ld - 1u) + k * ld;
    return mat4x4<f32>(c[at], c[at + ld], c[at + 2u * ld], c[at + 3u * ld]);
  }
  let ld = params.rank / 4u;
  let at = k / 4u;
  let last = params.n - 1u;
  return transpose(mat4x4<f32>(
    c[min(col, last) * ld + at], c[min(col + 1u, last) * ld + at],
    c[min(col + 2u, last) * ld + at], c[min(col + 3u, last) * ld + at],
  ));
}

// Row r of `rows` += (four k of the row in lane r) times (the same four k of this lane's columns).
fn multiply(rows: ptr<function, Rows>, own: vec4<f32>, b0: Columns, b1: Columns, b2: Columns, b3: Columns) {
  let r0 = subgroupBroadcast(own, 0u);
  (*rows)[0] += r0.x * b0 + r0.y * b1 + r0.z * b2 + r0.w * b3;
  let r1 = subgroupBroadcast(own, 1u);
  (*rows)[1] += r1.x * b0 + r1.y * b1 + r1.z * b2 + r1.w * b3;
  let r2 = subgroupBroadcast(own, 2u);
  (*rows)[2] += r2.x * b0 + r2.y * b1 + r2.z * b2 + r2.w * b3;
  let r3 = subgroupBroadcast(own, 3u);
  (*rows)[3] += r3.x * b0 + r3.y * b1 + r3.z * b2 + r3.w * b3;
  let r4 = subgroupBroadcast(own, 4u);
  (*rows)[4] += r4.x * b0 + r4.y * b1 + r4.z * b2 + r4.w * b3;
  let r5 = subgroupBroadcast(own, 5u);
  (*rows)[5] += r5.x * b0 + r5.y * b1 + r5.z * b2 + r5.w * b3;
  let r6 = subgroupBroadcast(own, 6u);
  (*rows)[6] += r6.x * b0 + r6.y * b1 + r6.z * b2 + r6.w * b3;
  let r7 = subgroupBroadcast(own, 7u);
  (*rows)[7] += r7.x * b0 + r7.y * b1 + r7.z * b2 + r7.w * b3;
}

fn store_row(row: u32, col: u32, sum: Columns, offset: Columns) {
  if (row >= params.m || col >= params.n) { return; }
  let at = (row * params.ldy + params.y_offset + col) / 4u;
  let out = params.scale * sum + offset;
  if (ACCUMULATE) { y[at] += out[0]; } else { y[at] = out[0]; }
  if (C == 4u || col + 4u >= params.n) { return; }
  if (ACCUMULATE) { y[at + 1u] += out[1]; } else { y[at + 1u] = out[1]; }
}

fn store(row: u32, step: u32, col: u32, rows: ptr<function, Rows>, offset: Columns) {
  store_row(row, col, (*rows)[0], offset);
  store_row(row + step, col, (*rows)[1], offset);
  store_row(row + 2u * step, col, (*rows)[2], offset);
  store_row(row + 3u * step, col, (*rows)[3], offset);
  store_row(row + 4u * step, col, (*rows)[4], offset);
  store_row(row + 5u * step, col, (*rows)[5], offset);
  store_row(row + 6u * step, col, (*rows)[6], offset);
  store_row(row + 7u * step, col, (*rows)[7], offset);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.x * R;
  let col = (group.y * 8u + lane) * C;
  let at0 = place_a(row, lane, 0u);
  let at1 = place_a(row, lane, 1u);
  let at2 = place_a(row, lane, 2u);
  let at3 = place_a(row, lane, 3u);
  let at4 = place_a(row, lane, 4u);
  let at5 = place_a(row, lane, 5u);
  let at6 = place_a(row, lane, 6u);
  let at7 = place_a(row, lane, 7u);
  var rows0: Rows;
  var rows1: Rows;
  var rows2: Rows;
  var rows3: Rows;
  var rows4: Rows;
  var rows5: Rows;
  var rows6: Rows;
  var rows7: Rows;
  for (var k = params.k_begin; k < params.k_end; k += 4u) {
    let left = block_b(k, col);
    var right = left;
    if (C > 4u) { right = block_b(k, col + 4u); }
    let b0 = Columns(left[0], right[0]);
    let b1 = Columns(left[1], right[1]);
    let b2 = Columns(left[2], right[2]);
    let b3 = Columns(left[3], right[3]);
    if (A_BY_K) {
      let own = block_a(k, at0);
      multiply(&rows0, own[0], b0, b1, b2, b3);
      multiply(&rows1, own[1], b0, b1, b2, b3);
      multiply(&rows2, own[2], b0, b1, b2, b3);
      multiply(&rows3, own[3], b0, b1, b2, b3);
      if (R > 32u) {
        let more = block_a(k, at4);
        multiply(&rows4, more[0], b0, b1, b2, b3);
        multiply(&rows5, more[1], b0, b1, b2, b3);
        multiply(&rows6, more[2], b0, b1, b2, b3);
        multiply(&rows7, more[3], b0, b1, b2, b3);
      }
    } else {
      multiply(&rows0, a[at0 + k / 4u], b0, b1, b2, b3);
      if (R > 8u) { multiply(&rows1, a[at1 + k / 4u], b0, b1, b2, b3); }
      if (R > 16u) {
        multiply(&rows2, a[at2 + k / 4u], b0, b1, b2, b3);
        multiply(&rows3, a[at3 + k / 4u], b0, b1, b2, b3);
      }
      if (R > 32u) {
        multiply(&rows4, a[at4 + k / 4u], b0, b1, b2, b3);
        multiply(&rows5, a[at5 + k / 4u], b0, b1, b2, b3);
        multiply(&rows6, a[at6 + k / 4u], b0, b1, b2, b3);
        multiply(&rows7, a[at7 + k / 4u], b0, b1, b2, b3);
      }
    }
  }
  if (APPENDED) {
    let ld = params.rank / 4u;
    let last = params.m - 1u;
    let z0 = min(row + lane + 0u, last) * ld;
    let z1 = min(row + lane + 8u, last) * ld;
    let z2 = min(row + lane + 16u, last) * ld;
    let z3 = min(row + lane + 24u, last) * ld;
    let z4 = min(row + lane + 32u, last) * ld;
    let z5 = min(row + lane + 40u, last) * ld;
    let z6 = min(row + lane + 48u, last) * ld;
    let z7 = min(row + lane + 56u, last) * ld;
    for (var k = 0u; k < params.rank; k += 4u) {
      let left = block_c(k, col);
      var right = left;
      if (C > 4u) { right = block_c(k, col + 4u); }
      let c0 = Columns(left[0], right[0]);
      let c1 = Columns(left[1], right[1]);
      let c2 = Columns(left[2], right[2]);
      let c3 = Columns(left[3], right[3]);
      multiply(&rows0, z[z0 + k / 4u], c0, c1, c2, c3);
      if (R > 8u) { multiply(&rows1, z[z1 + k / 4u], c0, c1, c2, c3); }
      if (R > 16u) {
        multiply(&rows2, z[z2 + k / 4u], c0, c1, c2, c3);
        multiply(&rows3, z[z3 + k / 4u], c0, c1, c2, c3);
      }
      if (R > 32u) {
        multiply(&rows4, z[z4 + k / 4u], c0, c1, c2, c3);
        multiply(&rows5, z[z5 + k / 4u], c0, c1, c2, c3);
        multiply(&rows6, z[z6 + k / 4u], c0, c1, c2, c3);
        multiply(&rows7, z[z7 + k / 4u], c0, c1, c2, c3);
      }
    }
  }
  var offset: Columns;
  if (params.has_bias != 0u) {
    let last = (params.n - 1u) / 4u;
    offset = Columns(bias[min(col / 4u, last)], bias[min(col / 4u + 1u, last)]);
  }
  let step = select(1u, 4u, A_BY_K); // between the rows of one group, and of one group and the next
  let next = select(8u, 1u, A_BY_K);
  store(row, step, col, &rows0, offset);
  if (R > 8u) { store(row + next, step, col, &rows1, offset); }
  if (R > 16u) {
    store(row + 2u * next, step, col, &rows2, offset);
    store(row + 3u * next, step, col, &rows3, offset);
  }
  if (R > 32u) {
    store(row + 32u, step, col, &rows4, offset);
    store(row + 32u + next, step, col, &rows5, offset);
    store(row + 32u + 2u * next, step, col, &rows6, offset);
    store(row + 32u + 3u * next, step, col, &rows7, offset);
  }
}
