// attention_forward for rows of one new token each, for subgroups of 8: a lane scores one key, then sums some of the
// head's dimensions over 8 keys, so that nothing is computed twice.
// q, out [N, H*E]; keys, values [S, K*E]; lse [N, H]: log2 of the sum of 2^score, or 1e30 where no key is visible;
// params.scale = scale * log2(e). A workgroup owns one token and HEADS query heads of one group.
// Dispatch: [tokens, H / HEADS]. Source: Dao et al., Flash-Decoding, 2023, without its split over keys.
struct Params { heads: u32, key_heads: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query_tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> visible: array<u32>;
@group(0) @binding(3) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;

const VECS: u32 = 8u; // head size / 4
const HEADS: u32 = 2u; // query heads of a workgroup, all of one group
const PARTS: u32 = 1u; // ceil(VECS / 8): vectors of a value row for each lane
const LOADS: u32 = 2u; // ceil(HEADS * VECS / 8): vectors of the query rows for each lane
const MASKED: bool = true; // whether `visible` hides keys
const LANES: u32 = 8u;
const HIDDEN: f32 = -1e30;

fn product(a: vec4<f32>, b: vec4<f32>) -> f32 {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let tile = query_tiles[group.x]; // token, 1, row's first slot, token's slot
  let head = group.y * HEADS;
  let head_at = head * params.key_heads / params.heads * VECS;
  let stride = params.key_heads * VECS;
  let at = (tile.x * params.heads + head) * VECS;
  var query: array<vec4<f32>, LOADS * 8>; // the same in all lanes
  var sum: array<vec4<f32>, HEADS * PARTS>; // of 2^(score - peak) * value, vectors lane, lane + 8, ... of the head
  var total: array<f32, HEADS>; // of 2^(score - peak), over the keys that this lane scored
  var peak: array<f32, HEADS>; // the same in all lanes
  for (var n = 0u; n < LOADS; n++) { // unroll
    let mine = q[at + min(n * 8u + lane, HEADS * VECS - 1u)] * params.scale;
    for (var j = 0u; j < LANES; j++) { // unroll
      query[n * 8u + j] = subgroupBroadcast(mine, j);
    }
  }
  for (var h = 0u; h < HEADS; h++) { // unroll
    peak[h] = HIDDEN;
  }
  for (var slot = tile.z; slot <= tile.w; slot += 8u) {
    let key = min(slot + lane, tile.w);
    var sees = slot + lane <= tile.w;
    if (MASKED) { sees = sees && visible[key] != 0u; }
    var weight: array<f32, HEADS>;
    for (var h = 0u; h < HEADS; h++) { // unroll
      weight[h] = 0.0;
    }
    for (var i = 0u; i < VECS; i++) { // unroll
      let k = keys[key * stride + head_at + i];
      for (var h = 0u; h < HEADS; h++) { // unroll
        weight[h] += product(query[h * VECS + i], k);
      }
    }
    for (var h = 0u; h < HEADS; h++) { // unroll
      let top = max(peak[h], subgroupMax(select(HIDDEN, weight[h], sees)));
      let rescale = exp2(peak[h] - top);
      peak[h] = top;
      weight[h] = select(0.0, exp2(weight[h] - top), sees);
      total[h] = total[h] * rescale + weight[h];
      for (var n = 0u; n < PARTS; n++) { // unroll
        sum[h * PARTS + n] *= rescale;
      }
    }
    for (var j = 0u; j < LANES; j++) { // unroll
      let value_at = min(slot + j, tile.w) * stride + head_at;
      for (var n = 0u; n < PARTS; n++) { // unroll
        let v = values[value_at + min(n * 8u + lane, VECS - 1u)];
        for (var h = 0u; h < HEADS; h++) { // unroll
          sum[h * PARTS + n] += subgroupBroadcast(weight[h], j) * v;
        }
      }
    }
  }
  for (var h = 0u; h < HEADS; h++) { // unroll
    let all = subgroupAdd(total[h]);
    let inverse = select(0.0, 1.0 / all, all > 0.0);
    if (lane == 0u) { lse[at / VECS + h] = select(1e30, peak[h] + log2(all), all > 0.0); }
    for (var n = 0u; n < PARTS; n++) { // unroll
      if (n * 8u + lane < VECS) { out[at + h * VECS + n * 8u + lane] = sum[h * PARTS + n] * inverse; }
    }
  }
}
