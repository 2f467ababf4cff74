// out[r] = the top 24 bits of the first word of Threefry(row key, (0, 1)), as a number in [0, 1): exact on every adapter.
// The row key is Threefry((seed, stream), (sample id, position)); rows [N] holds (sample id, position); out [N].
// Dispatch: one lane a row, ceil(N / 64) workgroups.
// Threefry-2x32-20: Salmon, Moraes, Dror, Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, 2011.
struct Params { rows: u32, seed: u32, stream: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 64u + lane;
  if (row >= params.rows) { return; }
  let row_key = threefry(vec2<u32>(params.seed, params.stream), rows[row]);
  let word = threefry(row_key, vec2<u32>(0u, 1u)).x;
  out[row] = f32(word >> 8u) * 0x1p-24f;
}

// The block function: two 32-bit words of counter under two of key, 20 rounds.
fn threefry(key: vec2<u32>, counter: vec2<u32>) -> vec2<u32> {
  let parity = 0x1bd11bdau ^ key.x ^ key.y;
  var x = first_four(counter + key) + vec2<u32>(key.y, parity + 1u);
  x = last_four(x) + vec2<u32>(parity, key.x + 2u);
  x = first_four(x) + vec2<u32>(key.x, key.y + 3u);
  x = last_four(x) + vec2<u32>(key.y, parity + 4u);
  return first_four(x) + vec2<u32>(parity, key.x + 5u);
}

fn first_four(x: vec2<u32>) -> vec2<u32> {
  return mix_words(mix_words(mix_words(mix_words(x, 13u), 15u), 26u), 6u);
}

fn last_four(x: vec2<u32>) -> vec2<u32> {
  return mix_words(mix_words(mix_words(mix_words(x, 17u), 29u), 16u), 24u);
}

fn mix_words(x: vec2<u32>, bits: u32) -> vec2<u32> {
  let sum = x.x + x.y;
  return vec2<u32>(sum, ((x.y << bits) | (x.y >> (32u - bits))) ^ sum);
}
