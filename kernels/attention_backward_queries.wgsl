// d_q += scale * sum over keys of p (d_out . v - delta) k with p = 2^(score - lse), for any adapter; also
// delta = d_out . out, which attention_backward_keys reads.
// q, out, d_out, d_q [N, H*E]; keys, values [S, K*E]; lse, delta [N, H]; params.scale = scale * log2(e). A workgroup
// owns a tile of TILE queries of one row and one head, a lane one query.
// Dispatch: [query tiles, H]. Source: Dao, FlashAttention-2, 2023, algorithm 2.
struct Params { heads: u32, key_heads: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query_tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> visible: array<u32>;
@group(0) @binding(3) var<storage, read> q: array<f32>;
@group(0) @binding(4) var<storage, read> keys: array<f32>;
@group(0) @binding(5) var<storage, read> values: array<f32>;
@group(0) @binding(6) var<storage, read> out: array<f32>;
@group(0) @binding(7) var<storage, read> d_out: array<f32>;
@group(0) @binding(8) var<storage, read> lse: array<f32>;
@group(0) @binding(9) var<storage, read_write> delta: array<f32>;
@group(0) @binding(10) var<storage, read_write> d_q: array<f32>;

const SIZE: u32 = 64u; // head size
const TILE: u32 = 32u; // queries of a workgroup
const MASKED: bool = true; // whether `visible` hides keys
const LN2: f32 = 0.6931471805599453;
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
  var d_row: array<f32, SIZE>;
  var sum: array<f32, SIZE>; // of d_score * key
  var mean = 0.0;
  for (var i = 0u; i < SIZE; i++) {
    query[i] = q[at + i] * params.scale;
    d_row[i] = d_out[at + i];
    mean += d_row[i] * out[at + i];
  }
  let level = lse[at / SIZE];
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
    for (var j = 0u; j < 8u; j++) {
      if (slot + j > tile.w + lane || shown[j] == 0u) { continue; }
      var s = 0.0;
      var d_weight = 0.0;
      for (var i = 0u; i < SIZE; i++) {
        s += query[i] * key_rows[j * SIZE + i];
        d_weight += d_row[i] * value_rows[j * SIZE + i];
      }
      let d_score = exp2(s - level) * (d_weight - mean);
      for (var i = 0u; i < SIZE; i++) { sum[i] += d_score * key_rows[j * SIZE + i]; }
    }
  }
  if (lane >= tile.y) { return; }
  delta[at / SIZE] = mean;
  for (var i = 0u; i < SIZE; i++) { d_q[at + i] += sum[i] * (params.scale * LN2); }
}
