// d_q += scale * sum over keys of p (d_out . v - delta) k with p = 2^(score - lse), for any adapter; also
// delta = d_out . out, which attention_backward_keys reads.
// q, out, d_out, d_q [N, H*E]; keys, values [S, K*E]; lse, delta [N, H]; params.scale = scale * log2(e). A workgroup
// owns a tile of TILE queries of one row and one head, a lane one query in registers (a head that is no multiple of 4
// ends in zeros).
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
const VECS: u32 = 16u; // SIZE / 4, rounded up
const TILE: u32 = 32u; // queries of a workgroup
const MASKED: bool = true; // whether `visible` hides keys
const LN2: f32 = 0.6931471805599453;
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

fn load_out(at: u32, column: u32) -> vec4<f32> {
  var x = vec4<f32>(out[at + column], 0.0, 0.0, 0.0);
  if (column + 1u < SIZE) { x.y = out[at + column + 1u]; }
  if (column + 2u < SIZE) { x.z = out[at + column + 2u]; }
  if (column + 3u < SIZE) { x.w = out[at + column + 3u]; }
  return x;
}

fn load_d_out(at: u32, column: u32) -> vec4<f32> {
  var x = vec4<f32>(d_out[at + column], 0.0, 0.0, 0.0);
  if (column + 1u < SIZE) { x.y = d_out[at + column + 1u]; }
  if (column + 2u < SIZE) { x.z = d_out[at + column + 2u]; }
  if (column + 3u < SIZE) { x.w = d_out[at + column + 3u]; }
  return x;
}

fn accumulate(at: u32, column: u32, x: vec4<f32>) {
  d_q[at + column] += x.x;
  if (column + 1u < SIZE) { d_q[at + column + 1u] += x.y; }
  if (column + 2u < SIZE) { d_q[at + column + 2u] += x.z; }
  if (column + 3u < SIZE) { d_q[at + column + 3u] += x.w; }
}

@compute @workgroup_size(TILE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let tile = query_tiles[group.x]; // first token, number of tokens, row's first slot, first token's slot
  let end = tile.w + tile.y;
  let at = ((tile.x + min(lane, tile.y - 1u)) * params.heads + group.y) * SIZE;
  let head_at = group.y * params.key_heads / params.heads * SIZE;
  var query: array<vec4<f32>, VECS>;
  var d_row: array<vec4<f32>, VECS>;
  var sum: array<vec4<f32>, VECS>; // of d_score * key
  var mean = 0.0;
  for (var i = 0u; i < VECS; i++) { // unroll
    query[i] = load_query(at, 4u * i) * params.scale;
    d_row[i] = load_d_out(at, 4u * i);
    mean += dot(d_row[i], load_out(at, 4u * i));
  }
  let level = lse[at / SIZE];
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
      var scores = vec4<f32>();
      var d_weights = vec4<f32>();
      for (var i = 0u; i < VECS; i++) { // unroll
        scores += query[i] * key_rows[j * VECS + i];
        d_weights += d_row[i] * value_rows[j * VECS + i];
      }
      let s = (scores.x + scores.y) + (scores.z + scores.w);
      let d_weight = (d_weights.x + d_weights.y) + (d_weights.z + d_weights.w);
      let d_score = exp2(s - level) * (d_weight - mean);
      for (var i = 0u; i < VECS; i++) { // unroll
        sum[i] += d_score * key_rows[j * VECS + i];
      }
    }
  }
  if (lane >= tile.y) { return; }
  delta[at / SIZE] = mean;
  for (var i = 0u; i < VECS; i++) { // unroll
    accumulate(at, 4u * i, sum[i] * (params.scale * LN2));
  }
}
