// out = softmax(scale * q k^T) v over the visible keys up to the query's own slot, flash form, for any adapter.
// q, out [N, H*E]; keys, values [S, K*E]; lse [N, H]: log2 of the sum of 2^score, or 1e30 where no key is visible;
// params.scale = scale * log2(e). A workgroup owns a tile of TILE queries of one row and one head, a lane one query in
// VECS registers (a head that is no multiple of 4 ends in zeros); keys come eight at a time through workgroup memory.
// Dispatch: [query tiles, H]. Source: Dao, FlashAttention-2, 2023, algorithm 1.
struct Params { heads: u32, key_heads: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query_tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> visible: array<u32>;
@group(0) @binding(3) var<storage, read> q: array<f32>;
@group(0) @binding(4) var<storage, read> keys: array<f32>;
@group(0) @binding(5) var<storage, read> values: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;

const SIZE: u32 = 64u; // head size
const VECS: u32 = 16u; // SIZE / 4, rounded up
const TILE: u32 = 32u; // queries of a workgroup
const MASKED: bool = true; // whether `visible` hides keys
const HIDDEN: f32 = -1e30;
var<workgroup> key_rows: array<vec4<f32>, 8 * VECS>;
var<workgroup> value_rows: array<vec4<f32>, 8 * VECS>;
var<workgroup> shown: array<u32, 8>;

fn load_query(at: u32, column: u32) -> vec4<f32> {
  var x = vec4<f32>(q[at + column], 0.0, 0.0, 0.0);
  if (column + 1u < SIZE) { x.y = q[at + column + 1u]; }
  if (column + 2u < SIZE) { x.z = q[at + column + 2u]; }
  if (column + 3u < SIZE) { x.w = q[at + column + 3u]; }
  return x;
}

fn load_key(at: u32, column: u32) -> vec4<f32> {
  var x = vec4<f32>(keys[at + column], 0.0, 0.0, 0.0);
  if (column + 1u < SIZE) { x.y = keys[at + column + 1u]; }
  if (column + 2u < SIZE) { x.z = keys[at + column + 2u]; }
  if (column + 3u < SIZE) { x.w = keys[at + column + 3u]; }
  return x;
}

fn load_value(at: u32, column: u32) -> vec4<f32> {
  var x = vec4<f32>(values[at + column], 0.0, 0.0, 0.0);
  if (column + 1u < SIZE) { x.y = values[at + column + 1u]; }
  if (column + 2u < SIZE) { x.z = values[at + column + 2u]; }
  if (column + 3u < SIZE) { x.w = values[at + column + 3u]; }
  return x;
}

fn store(at: u32, column: u32, x: vec4<f32>) {
  out[at + column] = x.x;
  if (column + 1u < SIZE) { out[at + column + 1u] = x.y; }
  if (column + 2u < SIZE) { out[at + column + 2u] = x.z; }
  if (column + 3u < SIZE) { out[at + column + 3u] = x.w; }
}

@compute @workgroup_size(TILE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let tile = query_tiles[group.x]; // first token, number of tokens, row's first slot, first token's slot
  let end = tile.w + tile.y;
  let at = ((tile.x + min(lane, tile.y - 1u)) * params.heads + group.y) * SIZE;
  let head_at = group.y * params.key_heads / params.heads * SIZE;
  var query: array<vec4<f32>, VECS>;
  var sum: array<vec4<f32>, VECS>; // of 2^(score - peak) * value
  var total = 0.0; // of 2^(score - peak)
  var peak = HIDDEN;
  for (var i = 0u; i < VECS; i++) { // unroll
    query[i] = load_query(at, 4u * i) * params.scale;
  }
  for (var slot = tile.z; slot < end; slot += 8u) {
    workgroupBarrier();
    for (var i = lane; i < 8u * VECS; i += TILE) {
      let key_at = min(slot + i / VECS, end - 1u) * params.key_heads * SIZE + head_at;
      key_rows[i] = load_key(key_at, 4u * (i % VECS));
      value_rows[i] = load_value(key_at, 4u * (i % VECS));
    }
    for (var j = lane; j < 8u; j += TILE) {
      shown[j] = u32(slot + j < end);
      if (MASKED) { shown[j] *= visible[min(slot + j, end - 1u)]; }
    }
    workgroupBarrier();
    for (var j = 0u; j < 8u; j++) {
      if (slot + j > tile.w + lane || shown[j] == 0u) { continue; }
      var products = vec4<f32>();
      for (var i = 0u; i < VECS; i++) { // unroll
        products += query[i] * key_rows[j * VECS + i];
      }
      let score = (products.x + products.y) + (products.z + products.w);
      if (score > peak) {
        let rescale = exp2(peak - score);
        peak = score;
        total *= rescale;
        for (var i = 0u; i < VECS; i++) { // unroll
          sum[i] *= rescale;
        }
      }
      let p = exp2(score - peak);
      total += p;
      for (var i = 0u; i < VECS; i++) { // unroll
        sum[i] += p * value_rows[j * VECS + i];
      }
    }
  }
  if (lane >= tile.y) { return; }
  let any = total > 0.0;
  let inverse = select(0.0, 1.0 / total, any);
  lse[at / SIZE] = select(1e30, peak + log2(total), any);
  for (var i = 0u; i < VECS; i++) { // unroll
    store(at, 4u * i, sum[i] * inverse);
  }
}
