// d_keys += scale * sum of p (d_out . v - delta) q, d_values += sum of p d_out over the queries that see a key and the
// query heads of its group, p = 2^(score - lse), for subgroups of 8.
// q, d_out [N, H*E]; keys, values, d_keys, d_values [S, K*E]; lse, delta [N, H]; params.scale = scale * log2(e).
// A workgroup owns 8*KEYS keys of one row and one key head, in registers, lane l the keys l, l + 8, ... Queries come 8 at
// a time, one row per lane, and are broadcast. No atomics: every key has one owner.
// Dispatch: [key tiles, K]. Source: Dao, FlashAttention-2, 2023, algorithm 2.
struct Params { heads: u32, key_heads: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> key_tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> visible: array<u32>;
@group(0) @binding(3) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> d_out: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> lse: array<f32>;
@group(0) @binding(8) var<storage, read> delta: array<f32>;
@group(0) @binding(9) var<storage, read_write> d_keys: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read_write> d_values: array<vec4<f32>>;

const VECS: u32 = 8u; // head size / 4
const KEYS: u32 = 1u; // keys of a lane
const MASKED: bool = true; // whether `visible` hides keys
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
  let tile = key_tiles[2u * group.x]; // first slot, number of slots, first token that sees it, end of the row's tokens
  let group_heads = params.heads / params.key_heads;
  let token_to_slot = key_tiles[2u * group.x + 1u].x;
  var at: array<u32, KEYS>;
  var shown: array<u32, KEYS>;
  var key: array<vec4<f32>, KEYS * VECS>; // times scale
  var value: array<vec4<f32>, KEYS * VECS>;
  var d_key: array<vec4<f32>, KEYS * VECS>;
  var d_value: array<vec4<f32>, KEYS * VECS>;
  for (var c = 0u; c < KEYS; c++) { // unroll
    let slot = tile.x + min(lane + c * 8u, tile.y - 1u);
    at[c] = (slot * params.key_heads + group.y) * VECS;
    shown[c] = 255u;
    if (MASKED) { shown[c] = visible[slot] * 255u; }
    for (var i = 0u; i < VECS; i++) { // unroll
      key[c * VECS + i] = keys[at[c] + i] * params.scale;
      value[c * VECS + i] = values[at[c] + i];
    }
  }
  for (var head = group.y * group_heads; head < (group.y + 1u) * group_heads; head++) {
    for (var first = tile.z; first < tile.w; first += 8u) {
      let token = min(first + lane, tile.w - 1u);
      let row = token * params.heads + head;
      let stats = share(vec4(lse[row], delta[row], 0.0, 0.0));
      var my_query: array<vec4<f32>, VECS>;
      var my_d_out: array<vec4<f32>, VECS>;
      // Zeros written out: without them naga 29 clears a variable once, not in every iteration.
      var score = array<vec4<f32>, KEYS * 2>();
      var d_weight = array<vec4<f32>, KEYS * 2>();
      for (var i = 0u; i < VECS; i++) { // unroll
        my_query[i] = q[row * VECS + i];
        my_d_out[i] = d_out[row * VECS + i];
      }
      for (var i = 0u; i < VECS; i++) { // unroll
        let x = share(my_query[i]);
        for (var c = 0u; c < KEYS; c++) { // unroll
          let k = key[c * VECS + i];
          score[2 * c] += vec4(product(k, x[0]), product(k, x[1]), product(k, x[2]), product(k, x[3]));
          score[2 * c + 1] += vec4(product(k, x[4]), product(k, x[5]), product(k, x[6]), product(k, x[7]));
        }
      }
      for (var c = 0u; c < KEYS; c++) { // unroll
        // Queries first + n, ... of the row are not earlier than the key.
        let n = clamp(i32(tile.x + lane + c * 8u) - i32(first + token_to_slot), 0, 8);
        let inside = (1u << min(tile.w - first, 8u)) - 1u;
        let sees = vec4((shown[c] << u32(n)) & inside);
        let sees0 = (sees & vec4(1u, 2u, 4u, 8u)) != vec4(0u);
        let sees1 = (sees & vec4(16u, 32u, 64u, 128u)) != vec4(0u);
        let level0 = vec4(stats[0].x, stats[1].x, stats[2].x, stats[3].x);
        let level1 = vec4(stats[4].x, stats[5].x, stats[6].x, stats[7].x);
        score[2 * c] = select(vec4(0.0), exp2(score[2 * c] - level0), sees0);
        score[2 * c + 1] = select(vec4(0.0), exp2(score[2 * c + 1] - level1), sees1);
      }
      for (var i = 0u; i < VECS; i++) { // unroll
        let x = share(my_d_out[i]);
        for (var c = 0u; c < KEYS; c++) { // unroll
          let v = value[c * VECS + i];
          d_weight[2 * c] += vec4(product(v, x[0]), product(v, x[1]), product(v, x[2]), product(v, x[3]));
          d_weight[2 * c + 1] += vec4(product(v, x[4]), product(v, x[5]), product(v, x[6]), product(v, x[7]));
          let p0 = score[2 * c];
          let p1 = score[2 * c + 1];
          d_value[c * VECS + i] += p0.x * x[0] + p0.y * x[1] + p0.z * x[2] + p0.w * x[3]
            + p1.x * x[4] + p1.y * x[5] + p1.z * x[6] + p1.w * x[7];
        }
      }
      for (var c = 0u; c < KEYS; c++) { // unroll
        let mean0 = vec4(stats[0].y, stats[1].y, stats[2].y, stats[3].y);
        let mean1 = vec4(stats[4].y, stats[5].y, stats[6].y, stats[7].y);
        score[2 * c] *= d_weight[2 * c] - mean0;
        score[2 * c + 1] *= d_weight[2 * c + 1] - mean1;
      }
      for (var i = 0u; i < VECS; i++) { // unroll
        let x = share(my_query[i]);
        for (var c = 0u; c < KEYS; c++) { // unroll
          let s0 = score[2 * c];
          let s1 = score[2 * c + 1];
          d_key[c * VECS + i] += s0.x * x[0] + s0.y * x[1] + s0.z * x[2] + s0.w * x[3]
            + s1.x * x[4] + s1.y * x[5] + s1.z * x[6] + s1.w * x[7];
        }
      }
    }
  }
  for (var c = 0u; c < KEYS; c++) { // unroll
    if (lane + c * 8u < tile.y) {
      for (var i = 0u; i < VECS; i++) { // unroll
        var dk = d_key[c * VECS + i] * (params.scale * LN2);
        var dv = d_value[c * VECS + i];
        if (ACCUMULATE) {
          dk += d_keys[at[c] + i];
          dv += d_values[at[c] + i];
        }
        d_keys[at[c] + i] = dk;
        d_values[at[c] + i] = dv;
      }
    }
  }
}
