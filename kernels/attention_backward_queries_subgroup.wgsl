// d_q += scale * sum over keys of p (d_out . v - delta) k with p = 2^(score - lse), for subgroups of 8; also
// delta = d_out . out, which attention_backward_keys reads.
// q, out, d_out, d_q [N, H*E]; keys, values [S, K*E]; lse, delta [N, H]; params.scale = scale * log2(e). Tiles,
// registers and broadcasts as in attention_forward_subgroup.wgsl.
// Dispatch: [query tiles, H / HEADS]. Source: Dao, FlashAttention-2, 2023, algorithm 2.
struct Params { heads: u32, key_heads: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query_tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> visible: array<u32>;
@group(0) @binding(3) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> out: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> d_out: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read> lse: array<f32>;
@group(0) @binding(9) var<storage, read_write> delta: array<f32>;
@group(0) @binding(10) var<storage, read_write> d_q: array<vec4<f32>>;

const VECS: u32 = 8u; // head size / 4
const HEADS: u32 = 2u; // query heads of a workgroup, all of one group
const QUERIES: u32 = 1u; // queries of a lane
const MASKED: bool = true; // whether `visible` hides keys
const ROWS: u32 = HEADS * QUERIES; // row r: query r / HEADS of the lane, head r % HEADS of the workgroup
const ACCUMULATE: bool = true; // false: the gradients hold nothing yet, every element is written
const LN2: f32 = 0.6931471805599453;
alias Eight = array<vec4<f32>, 8>;

// The same four numbers of the rows that the 8 lanes hold.
fn share(x: vec4<f32>) -> Eight {
  return Eight(
    subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u),
    subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u), subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u),
  );
}

fn product(a: vec4<f32>, b: vec4<f32>) -> f32 {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let tile = query_tiles[group.x]; // first token, number of tokens, row's first slot, first token's slot
  let head = group.y * HEADS;
  let end = tile.w + tile.y;
  let head_at = head * params.key_heads / params.heads * VECS;
  var at: array<u32, ROWS>;
  var query: array<vec4<f32>, ROWS * VECS>;
  var d_row: array<vec4<f32>, ROWS * VECS>;
  var sum: array<vec4<f32>, ROWS * VECS>; // of d_score * key
  var level: array<f32, ROWS>; // lse
  var mean: array<f32, ROWS>; // delta
  for (var r = 0u; r < ROWS; r++) { // unroll
    let token = tile.x + min(lane + r / HEADS * 8u, tile.y - 1u);
    at[r] = (token * params.heads + head + r % HEADS) * VECS;
    level[r] = lse[at[r] / VECS];
    for (var i = 0u; i < VECS; i++) { // unroll
      query[r * VECS + i] = q[at[r] + i] * params.scale;
      d_row[r * VECS + i] = d_out[at[r] + i];
      mean[r] += product(d_row[r * VECS + i], out[at[r] + i]);
    }
  }
  for (var slot = tile.z; slot < end; slot += 8u) {
    let key = min(slot + lane, end - 1u);
    let key_at = key * params.key_heads * VECS + head_at;
    var shown = 255u;
    if (MASKED) { shown = subgroupAdd(visible[key] << lane); }
    var my_key: array<vec4<f32>, VECS>;
    var my_value: array<vec4<f32>, VECS>;
    // Zeros written out: without them naga 29 clears a variable once, not in every iteration.
    var score = array<vec4<f32>, ROWS * 2>();
    var d_weight = array<vec4<f32>, ROWS * 2>();
    for (var i = 0u; i < VECS; i++) { // unroll
      my_key[i] = keys[key_at + i];
      my_value[i] = values[key_at + i];
    }
    for (var i = 0u; i < VECS; i++) { // unroll
      let k = share(my_key[i]);
      for (var r = 0u; r < ROWS; r++) { // unroll
        let x = query[r * VECS + i];
        score[2 * r] += vec4(product(x, k[0]), product(x, k[1]), product(x, k[2]), product(x, k[3]));
        score[2 * r + 1] += vec4(product(x, k[4]), product(x, k[5]), product(x, k[6]), product(x, k[7]));
      }
    }
    for (var i = 0u; i < VECS; i++) { // unroll
      let v = share(my_value[i]);
      for (var r = 0u; r < ROWS; r++) { // unroll
        let x = d_row[r * VECS + i];
        d_weight[2 * r] += vec4(product(x, v[0]), product(x, v[1]), product(x, v[2]), product(x, v[3]));
        d_weight[2 * r + 1] += vec4(product(x, v[4]), product(x, v[5]), product(x, v[6]), product(x, v[7]));
      }
    }
    for (var r = 0u; r < ROWS; r++) { // unroll
      // Keys slot, slot + 1, ... up to the query's own slot.
      let earlier = clamp(i32(tile.w + lane + r / HEADS * 8u + 1u) - i32(slot), 0, 8);
      let sees = vec4(shown & ((1u << u32(earlier)) - 1u));
      let sees0 = (sees & vec4(1u, 2u, 4u, 8u)) != vec4(0u);
      let sees1 = (sees & vec4(16u, 32u, 64u, 128u)) != vec4(0u);
      let p0 = select(vec4(0.0), exp2(score[2 * r] - level[r]), sees0);
      let p1 = select(vec4(0.0), exp2(score[2 * r + 1] - level[r]), sees1);
      score[2 * r] = p0 * (d_weight[2 * r] - mean[r]);
      score[2 * r + 1] = p1 * (d_weight[2 * r + 1] - mean[r]);
    }
    for (var i = 0u; i < VECS; i++) { // unroll
      let k = share(my_key[i]);
      for (var r = 0u; r < ROWS; r++) { // unroll
        let s0 = score[2 * r];
        let s1 = score[2 * r + 1];
        sum[r * VECS + i] += s0.x * k[0] + s0.y * k[1] + s0.z * k[2] + s0.w * k[3]
          + s1.x * k[4] + s1.y * k[5] + s1.z * k[6] + s1.w * k[7];
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) { // unroll
    if (lane + r / HEADS * 8u < tile.y) {
      delta[at[r] / VECS] = mean[r];
      for (var i = 0u; i < VECS; i++) { // unroll
        var d = sum[r * VECS + i] * (params.scale * LN2);
        if (ACCUMULATE) { d += d_q[at[r] + i]; }
        d_q[at[r] + i] = d;
      }
    }
  }
}
