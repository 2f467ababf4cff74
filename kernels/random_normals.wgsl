// out[r, 2j] and out[r, 2j + 1] = a Box-Muller pair from the two words a, b of Threefry(row key, (j, 0)):
// sqrt(-2 log u) * (cos, sin)(2 pi v) with u = (a + 0.5) / 2^32, so that log never sees 0, and v = (b + 0.5) / 2^32.
// The row key is Threefry((seed, stream), (sample id, position)); rows [N] holds (sample id, position); out [N, D].
// Dispatch: 8 numbers of one row a lane, ceil(N * ceil(D / 8) / 64) workgroups.
// Threefry-2x32-20: Salmon, Moraes, Dror, Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, 2011.
struct Params { rows: u32, dim: u32, seed: u32, stream: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let lanes_of_row = (params.dim + 7u) / 8u;
  let i = (group.y * groups.x + group.x) * 64u + lane;
  let row = i / lanes_of_row;
  if (row >= params.rows) { return; }
  let row_key = threefry(vec2<u32>(params.seed, params.stream), rows[row]);
  let pair = 4u * (i - row * lanes_of_row);
  write_pair(row_key, row, pair);
  write_pair(row_key, row, pair + 1u);
  write_pair(row_key, row, pair + 2u);
  write_pair(row_key, row, pair + 3u);
}

fn write_pair(row_key: vec2<u32>, row: u32, pair: u32) {
  if (2u * pair >= params.dim) { return; }
  let normals = box_muller(threefry(row_key, vec2<u32>(pair, 0u)));
  let at = row * params.dim + 2u * pair;
  out[at] = normals.x;
  if (2u * pair + 1u < params.dim) { out[at + 1u] = normals.y; }
}

fn box_muller(words: vec2<u32>) -> vec2<f32> {
  // u may round to 1, and a driver's log(1) to just above 0.
  let radius = sqrt(max(0.0, -2.0 * log((f32(words.x) + 0.5) * 0x1p-32f)));
  // Sine and cosine by polynomials within an eighth of a turn: WGSL promises its own only to 2^-11. The top two bits
  // are the quarter turn; the rest is an angle x from -pi/4 to pi/4 around the quarter's middle.
  let x = ((f32(words.y & 0x3fffffffu) + 0.5) * 0x1p-30f - 0.5) * 1.5707963267948966;
  let y = x * x;
  let sine = x * (1.0 + y * (-1.0 / 6.0 + y * (1.0 / 120.0 + y * (-1.0 / 5040.0 + y / 362880.0))));
  let cosine = 1.0 + y * (-0.5 + y * (1.0 / 24.0 + y * (-1.0 / 720.0 + y / 40320.0)));
  let middle = vec2<f32>(cosine - sine, sine + cosine) * 0.7071067811865476;
  let crosswise = vec2<f32>(-middle.y, middle.x);
  let quarter = words.y >> 30u;
  let turned = select(middle, crosswise, (quarter & 1u) != 0u);
  return radius * select(turned, -turned, quarter >= 2u);
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
