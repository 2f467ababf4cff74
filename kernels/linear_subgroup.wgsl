// y (+)= scale (a b + z c) + bias: the second product is appended to the loop over k, so that y is written once.
// a is [M, lda], or [k, lda] with A_BY_K; b is [N, ldb], or [k, ldb] with B_BY_K; z [M, rank]; c [N, rank], or
// [rank, N] with C_BY_K; y [M, ldy]. Forward NT: y = x W^T. Input gradient NN: d_x += d_y W. Weight gradient TN:
// d_W += d_y^T x over the tokens k_begin to k_end.
// One workgroup is one subgroup of 8 lanes: a tile of 8 GROUPS rows and 32 QUADS columns, 4 QUADS consecutive ones a
// lane. A lane loads four k of its own rows and columns; rows reach the other lanes by broadcast.
// Dispatch: [ceil(M / 8 GROUPS), ceil(N / 32 QUADS)]. Leading dimensions, offsets, rank, and k where a or b is not BY_K,
// must be multiples of 4; padding columns of a are zeros, those of y get finite numbers.
struct Params {
  m: u32, n: u32, k_begin: u32, k_end: u32, lda: u32, ldb: u32, ldy: u32, a_offset: u32, y_offset: u32,
  rank: u32, scale: f32, has_bias: u32,
}
const GROUPS: u32 = 2u;
const QUADS: u32 = 1u;
const A_BY_K: bool = false;
const B_BY_K: bool = false;
const C_BY_K: bool = false;
const APPENDED: bool = false;
const ACCUMULATE: bool = false;
const LANES: u32 = 8u;
const ROWS: u32 = LANES * GROUPS;
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> c: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

fn load_b(i: u32) -> vec4<f32> { return b[i]; } // for b of 16 bits, ops/linear_forms.ts rewrites this line and b's

// b[k .. k + 3] of four columns, one vector of columns for each k; k past the end repeats the last. `at` holds where
// the four columns begin, or with B_BY_K, in its first element, the vector of the columns within a row.
fn block_b(k: u32, at: vec4<u32>) -> mat4x4<f32> {
  if (B_BY_K) {
    let ld = params.ldb / 4u;
    let last = params.k_end - 1u;
    return mat4x4<f32>(
      load_b(min(k, last) * ld + at.x), load_b(min(k + 1u, last) * ld + at.x),
      load_b(min(k + 2u, last) * ld + at.x), load_b(min(k + 3u, last) * ld + at.x),
    );
  }
  let i = k / 4u;
  return transpose(mat4x4<f32>(load_b(at.x + i), load_b(at.y + i), load_b(at.z + i), load_b(at.w + i)));
}

fn place_b(col: u32) -> vec4<u32> {
  let ld = params.ldb / 4u;
  if (B_BY_K) { return vec4<u32>(min(col / 4u, ld - 1u)); }
  return min(vec4<u32>(col, col + 1u, col + 2u, col + 3u), vec4<u32>(params.n - 1u)) * ld;
}

fn block_c(k: u32, col: u32) -> mat4x4<f32> {
  if (C_BY_K) {
    let ld = params.n / 4u;
    let at = min(col / 4u, ld - 1u) + k * ld;
    return mat4x4<f32>(c[at], c[at + ld], c[at + 2u * ld], c[at + 3u * ld]);
  }
  let columns = min(vec4<u32>(col, col + 1u, col + 2u, col + 3u), vec4<u32>(params.n - 1u));
  let at = columns * (params.rank / 4u) + k / 4u;
  return transpose(mat4x4<f32>(c[at.x], c[at.y], c[at.z], c[at.w]));
}

// Where row `row` of a (A_BY_K: the four rows around it) begins.
fn place_a(row: u32) -> u32 {
  let last = params.m - 1u;
  if (A_BY_K) { return params.a_offset / 4u + min(row, last) / 4u; }
  return params.a_offset / 4u + min(row, last) * (params.lda / 4u);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.x * ROWS;
  let col = (group.y * LANES + lane) * 4u * QUADS;
  let lda = params.lda / 4u;
  let last_k = params.k_end - 1u;
  var at_a = array<u32, GROUPS>();
  for (var i = 0u; i < GROUPS; i++) { // unroll
    at_a[i] = place_a(row + select(8u * i + lane, 4u * lane, A_BY_K));
  }
  var at_b = array<vec4<u32>, QUADS>();
  for (var q = 0u; q < QUADS; q++) { // unroll
    at_b[q] = place_b(col + 4u * q);
  }
  var sum = array<vec4<f32>, ROWS * QUADS>();
  for (var k = params.k_begin; k < params.k_end; k += 4u) {
    var block = array<mat4x4<f32>, QUADS>();
    for (var q = 0u; q < QUADS; q++) { // unroll
      block[q] = block_b(k, at_b[q]);
    }
    if (A_BY_K) {
      // Lane l holds rows 4 l to 4 l + 3 of the tile for each of the four k.
      let at = at_a[0];
      let k0 = a[k * lda + at];
      let k1 = select(vec4<f32>(), a[min(k + 1u, last_k) * lda + at], k + 1u <= last_k);
      let k2 = select(vec4<f32>(), a[min(k + 2u, last_k) * lda + at], k + 2u <= last_k);
      let k3 = select(vec4<f32>(), a[min(k + 3u, last_k) * lda + at], k + 3u <= last_k);
      for (var r = 0u; r < ROWS; r++) { // unroll
        let s0 = subgroupBroadcast(k0[r % 4u], r / 4u);
        let s1 = subgroupBroadcast(k1[r % 4u], r / 4u);
        let s2 = subgroupBroadcast(k2[r % 4u], r / 4u);
        let s3 = subgroupBroadcast(k3[r % 4u], r / 4u);
        for (var q = 0u; q < QUADS; q++) { // unroll
          sum[r * QUADS + q] += block[q] * vec4<f32>(s0, s1, s2, s3);
        }
      }
    } else {
      for (var i = 0u; i < GROUPS; i++) { // unroll
        let own = a[at_a[i] + k / 4u];
        for (var r = 0u; r < LANES; r++) { // unroll
          let s = subgroupBroadcast(own, r);
          for (var q = 0u; q < QUADS; q++) { // unroll
            sum[(8u * i + r) * QUADS + q] += block[q] * s;
          }
        }
      }
    }
  }
  if (APPENDED) {
    for (var k = 0u; k < params.rank; k += 4u) {
      var block = array<mat4x4<f32>, QUADS>();
      for (var q = 0u; q < QUADS; q++) { // unroll
        block[q] = block_c(k, col + 4u * q);
      }
      for (var i = 0u; i < GROUPS; i++) { // unroll
        let own = z[min(row + 8u * i + lane, params.m - 1u) * (params.rank / 4u) + k / 4u];
        for (var r = 0u; r < LANES; r++) { // unroll
          let s = subgroupBroadcast(own, r);
          for (var q = 0u; q < QUADS; q++) { // unroll
            sum[(8u * i + r) * QUADS + q] += block[q] * s;
          }
        }
      }
    }
  }
  for (var q = 0u; q < QUADS; q++) { // unroll
    let first = col + 4u * q;
    if (first < params.n) {
      var offset = vec4<f32>();
      if (params.has_bias != 0u) { offset = bias[first / 4u]; }
      for (var r = 0u; r < ROWS; r++) { // unroll
        if (row + r < params.m) {
          let at = ((row + r) * params.ldy + params.y_offset + first) / 4u;
          let out = params.scale * sum[r * QUADS + q] + offset;
          if (ACCUMULATE) { y[at] += out; } else { y[at] = out; }
        }
      }
    }
  }
}
