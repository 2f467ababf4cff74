// out = softmax(scale * q k^T) v over the visible keys up to the query's own slot, flash form, for subgroups of 8.
// q, out [N, H*E]; keys, values [S, K*E]; lse [N, H]: log2 of the sum of 2^score, or 1e30 where no key is visible;
// params.scale = scale * log2(e). A workgroup owns 8*QUERIES queries of one row and HEADS query heads of one group, in
// registers, lane l the queries l, l + 8, ... Keys come 8 at a time, one row per lane, and are broadcast: no workgroup
// memory, no barrier, and as few loads as possible, which are what costs on software Vulkan.
// Dispatch: [query tiles, H / HEADS]. Source: Dao, FlashAttention-2, 2023, algorithm 1.
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
const QUERIES: u32 = 1u; // queries of a lane
const MASKED: bool = true; // whether `visible` hides keys
const ROWS: u32 = HEADS * QUERIES; // row r: query r / HEADS of the lane, head r % HEADS of the workgroup
const HIDDEN: f32 = -1e30;
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
  var sum: array<vec4<f32>, ROWS * VECS>; // of 2^(score - peak) * value
  var total: array<f32, ROWS>; // of 2^(score - peak)
  var peak: array<f32, ROWS>;
  for (var r = 0u; r < ROWS; r++) { // unroll
    let token = tile.x + min(lane + r / HEADS * 8u, tile.y - 1u);
    at[r] = (token * params.heads + head + r % HEADS) * VECS;
    peak[r] = HIDDEN;
    for (var i = 0u; i < VECS; i++) { // unroll
      query[r * VECS + i] = q[at[r] + i] * params.scale;
    }
  }
  for (var slot = tile.z; slot < end; slot += 8u) {
    let key = min(slot + lane, end - 1u);
    let key_at = key * params.key_heads * VECS + head_at;
    var shown = 255u;
    if (MASKED) { shown = subgroupAdd(visible[key] << lane); }
    var mine: array<vec4<f32>, VECS>;
    // Zeros written out: without them naga 29 clears a variable once, not in every iteration.
    var score = array<vec4<f32>, ROWS * 2>();
    for (var i = 0u; i < VECS; i++) { // unroll
      mine[i] = keys[key_at + i];
    }
    for (var i = 0u; i < VECS; i++) { // unroll
      let k = share(mine[i]);
      for (var r = 0u; r < ROWS; r++) { // unroll
        let x = query[r * VECS + i];
        score[2 * r] += vec4(product(x, k[0]), product(x, k[1]), product(x, k[2]), product(x, k[3]));
        score[2 * r + 1] += vec4(product(x, k[4]), product(x, k[5]), product(x, k[6]), product(x, k[7]));
      }
    }
    for (var r = 0u; r < ROWS; r++) { // unroll
      // Keys slot, slot + 1, ... up to the query's own slot.
      let earlier = clamp(i32(tile.w + lane + r / HEADS * 8u + 1u) - i32(slot), 0, 8);
      let sees = vec4(shown & ((1u << u32(earlier)) - 1u));
      let sees0 = (sees & vec4(1u, 2u, 4u, 8u)) != vec4(0u);
      let sees1 = (sees & vec4(16u, 32u, 64u, 128u)) != vec4(0u);
      let s0 = select(vec4(HIDDEN), score[2 * r], sees0);
      let s1 = select(vec4(HIDDEN), score[2 * r + 1], sees1);
      let most = max(s0, s1);
      let top = max(peak[r], max(max(most.x, most.y), max(most.z, most.w)));
      // While nothing is visible top is HIDDEN and 2^(HIDDEN - top) would count: hence the select.
      let p0 = select(vec4(0.0), exp2(s0 - top), sees0);
      let p1 = select(vec4(0.0), exp2(s1 - top), sees1);
      let p = p0 + p1;
      let rescale = exp2(peak[r] - top);
      peak[r] = top;
      total[r] = total[r] * rescale + ((p.x + p.y) + (p.z + p.w));
      score[2 * r] = p0;
      score[2 * r + 1] = p1;
      for (var i = 0u; i < VECS; i++) { // unroll
        sum[r * VECS + i] *= rescale;
      }
    }
    for (var i = 0u; i < VECS; i++) { // unroll
      mine[i] = values[key_at + i];
    }
    for (var i = 0u; i < VECS; i++) { // unroll
      let v = share(mine[i]);
      for (var r = 0u; r < ROWS; r++) { // unroll
        let p0 = score[2 * r];
        let p1 = score[2 * r + 1];
        sum[r * VECS + i] += p0.x * v[0] + p0.y * v[1] + p0.z * v[2] + p0.w * v[3]
          + p1.x * v[4] + p1.y * v[5] + p1.z * v[6] + p1.w * v[7];
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) { // unroll
    if (lane + r / HEADS * 8u < tile.y) {
      let any = total[r] > 0.0;
      let inverse = select(0.0, 1.0 / total[r], any);
      lse[at[r] / VECS] = select(1e30, peak[r] + log2(total[r]), any);
      for (var i = 0u; i < VECS; i++) { // unroll
        out[at[r] + i] = sum[r * VECS + i] * inverse;
      }
    }
  }
}
