// d_keys += scale * sum of p (d_out . v - delta) q, d_values += sum of p d_out over the queries that see a key and the
// query heads of its group, p = 2^(score - lse), for any adapter.
// q, d_out [N, H*E]; keys, values, d_keys, d_values [S, K*E]; lse, delta [N, H]; params.scale = scale * log2(e). A
// workgroup owns a tile of TILE keys of one row and one key head, a lane one key. No atomics: every key has one owner.
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
const TILE: u32 = 32u; // keys of a workgroup
const MASKED: bool = true; // whether `visible` hides keys
const LN2: f32 = 0.6931471805599453;
var<workgroup> query_rows: array<f32, 8 * SIZE>;
var<workgroup> d_rows: array<f32, 8 * SIZE>;
var<workgroup> levels: array<f32, 8>;
var<workgroup> means: array<f32, 8>;

@compute @workgroup_size(TILE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let tile = key_tiles[2u * group.x]; // first slot, number of slots, first token that sees it, end of the row's tokens
  let token_to_slot = key_tiles[2u * group.x + 1u].x;
  let group_heads = params.heads / params.key_heads;
  let slot = tile.x + min(lane, tile.y - 1u);
  let at = (slot * params.key_heads + group.y) * SIZE;
  var key: array<f32, SIZE>; // times scale
  var value: array<f32, SIZE>;
  var d_key: array<f32, SIZE>;
  var d_value: array<f32, SIZE>;
  for (var i = 0u; i < SIZE; i++) {
    key[i] = keys[at + i] * params.scale;
    value[i] = values[at + i];
  }
  var shown = true;
  if (MASKED) { shown = visible[slot] != 0u; }
  for (var h = 0u; h < group_heads; h++) {
    let head = group.y * group_heads + h;
    for (var first = tile.z; first < tile.w; first += 8u) {
      workgroupBarrier();
      for (var i = lane; i < 8u * SIZE; i += TILE) {
        let row = min(first + i / SIZE, tile.w - 1u) * params.heads + head;
        query_rows[i] = q[row * SIZE + i % SIZE];
        d_rows[i] = d_out[row * SIZE + i % SIZE];
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
        var s = 0.0;
        var d_weight = 0.0;
        for (var i = 0u; i < SIZE; i++) {
          s += key[i] * query_rows[j * SIZE + i];
          d_weight += value[i] * d_rows[j * SIZE + i];
        }
        let p = exp2(s - levels[j]);
        let d_score = p * (d_weight - means[j]);
        for (var i = 0u; i < SIZE; i++) {
          d_value[i] += p * d_rows[j * SIZE + i];
          d_key[i] += d_score * query_rows[j * SIZE + i];
        }
      }
    }
  }
  if (lane >= tile.y) { return; }
  for (var i = 0u; i < SIZE; i++) {
    d_keys[at + i] += d_key[i] * (params.scale * LN2);
    d_values[at + i] += d_value[i];
  }
}
