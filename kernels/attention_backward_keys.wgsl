// d_keys += scale * sum of p (d_out . v - delta) q, d_values += sum of p d_out over the queries that see a key and the
// query heads of its group, p = 2^(score - lse), for any adapter.
// q, d_out [N, H*E]; keys, values, d_keys, d_values [S, K*E]; lse, delta [N, H]; params.scale = scale * log2(e). A
// workgroup owns a tile of TILE keys of one row and one key head, a lane one key in registers (a head that is no multiple
// of 4 ends in zeros). No atomics: every key has one owner.
// Dispatch: [key tiles, K]. Source: Dao, FlashAttention-2, 2023, algorithm 2.
struct Params { heads: u32, key_heads: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> key_tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> visible: array<u32>;
@group(0) @binding(3) var<storage, read> q: array<f32>;
@group(0) @binding(4) var<storage, read> keys: array<f32>;
@group(0) @binding(5) var<storage, read> values: array<f32>;
@group(0) @binding(6) var<storage, read> d_out: array<f32>;
@group(0) @binding(7) var<storage, read> lse: array<f32>;
@group(0) @binding(8) var<storage, read> delta: array<f32>;
@group(0) @binding(9) var<storage, read_write> d_keys: array<f32>;
@group(0) @binding(10) var<storage, read_write> d_values: array<f32>;

const SIZE: u32 = 64u; // head size
const VECS: u32 = 16u; // SIZE / 4, rounded up
const TILE: u32 = 32u; // keys of a workgroup
const MASKED: bool = true; // whether `visible` hides keys
const LN2: f32 = 0.6931471805599453;
var<workgroup> query_rows: array<vec4<f32>, 8 * VECS>;
var<workgroup> d_rows: array<vec4<f32>, 8 * VECS>;
var<workgroup> levels: array<f32, 8>;
var<workgroup> means: array<f32, 8>;

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

fn load_d_out(at: u32, column: u32) -> vec4<f32> {
  var x = vec4<f32>(d_out[at + column], 0.0, 0.0, 0.0);
  if (column + 1u < SIZE) { x.y = d_out[at + column + 1u]; }
  if (column + 2u < SIZE) { x.z = d_out[at + column + 2u]; }
  if (column + 3u < SIZE) { x.w = d_out[at + column + 3u]; }
  return x;
}

fn accumulate_key(at: u32, column: u32, x: vec4<f32>) {
  d_keys[at + column] += x.x;
  if (column + 1u < SIZE) { d_keys[at + column + 1u] += x.y; }
  if (column + 2u < SIZE) { d_keys[at + column + 2u] += x.z; }
  if (column + 3u < SIZE) { d_keys[at + column + 3u] += x.w; }
}

fn accumulate_value(at: u32, column: u32, x: vec4<f32>) {
  d_values[at + column] += x.x;
  if (column + 1u < SIZE) { d_values[at + column + 1u] += x.y; }
  if (column + 2u < SIZE) { d_values[at + column + 2u] += x.z; }
  if (column + 3u < SIZE) { d_values[at + column + 3u] += x.w; }
}

@compute @workgroup_size(TILE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let tile = key_tiles[2u * group.x]; // first slot, number of slots, first token that sees it, end of the row's tokens
  let token_to_slot = key_tiles[2u * group.x + 1u].x;
  let group_heads = params.heads / params.key_heads;
  let slot = tile.x + min(lane, tile.y - 1u);
  let at = (slot * params.key_heads + group.y) * SIZE;
  var key: array<vec4<f32>, VECS>; // times scale
  var value: array<vec4<f32>, VECS>;
  var d_key: array<vec4<f32>, VECS>;
  var d_value: array<vec4<f32>, VECS>;
  for (var i = 0u; i < VECS; i++) { // unroll
    key[i] = load_key(at, 4u * i) * params.scale;
    value[i] = load_value(at, 4u * i);
  }
  var shown = true;
  if (MASKED) { shown = visible[slot] != 0u; }
  for (var h = 0u; h < group_heads; h++) {
    let head = group.y * group_heads + h;
    for (var first = tile.z; first < tile.w; first += 8u) {
      workgroupBarrier();
      for (var i = lane; i < 8u * VECS; i += TILE) {
        let row = min(first + i / VECS, tile.w - 1u) * params.heads + head;
        query_rows[i] = load_query(row * SIZE, 4u * (i % VECS));
        d_rows[i] = load_d_out(row * SIZE, 4u * (i % VECS));
      }
      for (var j = lane; j < 8u; j += TILE) {
        let row = min(first + j, tile.w - 1u) * params.heads + head;
        levels[j] = lse[row];
        means[j] = delta[row];
      }
      workgroupBarrier();
      for (var j = 0u; j < 8u; j++) {
        let token = first + j;
        if (!shown || token >= tile.w || token + token_to_slot < slot) { continue; }
        var scores = vec4<f32>();
        var d_weights = vec4<f32>();
        for (var i = 0u; i < VECS; i++) { // unroll
          scores += key[i] * query_rows[j * VECS + i];
          d_weights += value[i] * d_rows[j * VECS + i];
        }
        let s = (scores.x + scores.y) + (scores.z + scores.w);
        let d_weight = (d_weights.x + d_weights.y) + (d_weights.z + d_weights.w);
        let p = exp2(s - levels[j]);
        let d_score = p * (d_weight - means[j]);
        for (var i = 0u; i < VECS; i++) { // unroll
          d_value[i] += p * d_rows[j * VECS + i];
          d_key[i] += d_score * query_rows[j * VECS + i];
        }
      }
    }
  }
  if (lane >= tile.y) { return; }
  for (var i = 0u; i < VECS; i++) { // unroll
    accumulate_key(at, 4u * i, d_key[i] * (params.scale * LN2));
    accumulate_value(at, 4u * i, d_value[i]);
  }
}
