// out = softmax(scale * q k^T) v over the visible keys up to the query's own slot, flash form, for any adapter.
// q, out [N, H*E]; keys, values [S, K*E]; lse [N, H]: log2 of the sum of 2^score, or 1e30 where no key is visible;
// params.scale = scale * log2(e). A workgroup owns a tile of TILE queries of one row and one head, a lane one query;
// keys come eight at a time through workgroup memory.
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
const TILE: u32 = 32u; // queries of a workgroup
const MASKED: bool = true; // whether `visible` hides keys
const HIDDEN: f32 = -1e30;
var<workgroup> key_rows: array<f32, 8 * SIZE>;
var<workgroup> value_rows: array<f32, 8 * SIZE>;
var<workgroup> shown: array<u32, 8>;

@compute @workgroup_size(TILE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let tile = query_tiles[group.x]; // first token, number of tokens, row's first slot, first token's slot
  let end = tile.w + tile.y;
  let at = ((tile.x + min(lane, tile.y - 1u)) * params.heads + group.y) * SIZE;
  let head_at = group.y * params.key_heads / params.heads * SIZE;
  var query: array<f32, SIZE>;
  var sum: array<f32, SIZE>; // of 2^(score - peak) * value
  var total = 0.0; // of 2^(score - peak)
  var peak = HIDDEN;
  for (var i = 0u; i < SIZE; i++) { query[i] = q[at + i] * params.scale; }
  for (var slot = tile.z; slot < end; slot += 8u) {
    workgroupBarrier();
    for (var i = lane; i < 8u * SIZE; i += TILE) {
      let key_at = min(slot + i / SIZE, end - 1u) * params.key_heads * SIZE + head_at + i % SIZE;
      key_rows[i] = keys[key_at];
      value_rows[i] = values[key_at];
    }
    for (var j = lane; j < 8u; j += TILE) {
      shown[j] = u32(slot + j < end);
      if (MASKED) { shown[j] *= visible[min(slot + j, end - 1u)]; }
    }
    workgroupBarrier();
    var score: array<f32, 8>;
    var top = peak;
    for (var j = 0u; j < 8u; j++) {
      var s = 0.0;
      for (var i = 0u; i < SIZE; i++) { s += query[i] * key_rows[j * SIZE + i]; }
      let sees = slot + j <= tile.w + lane && shown[j] != 0u;
      score[j] = select(HIDDEN, s, sees);
      top = max(top, score[j]);
    }
    let rescale = exp2(peak - top);
    peak = top;
    total *= rescale;
    for (var i = 0u; i < SIZE; i++) { sum[i] *= rescale; }
    for (var j = 0u; j < 8u; j++) {
      let p = select(0.0, exp2(score[j] - top), score[j] > HIDDEN);
      total += p;
      for (var i = 0u; i < SIZE; i++) { sum[i] += p * value_rows[j * SIZE + i]; }
    }
  }
  if (lane >= tile.y) { return; }
  let any = total > 0.0;
  let inverse = select(0.0, 1.0 / total, any);
  lse[at / SIZE] = select(1e30, peak + log2(total), any);
  for (var i = 0u; i < SIZE; i++) { out[at + i] = sum[i] * inverse; }
}
