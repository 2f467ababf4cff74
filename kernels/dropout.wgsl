// out[i] (+)= scale x[i] where element i is kept, 0 where it is dropped. With the same key it is its own gradient.
// Elements 2j and 2j + 1 are kept where the two words of Threefry(key, (j, 3)) are at least `threshold`.
// x, out: any shape, read as vec4 (V = ceil(size / 4)). Dispatch: one vec4 a lane, ceil(V / 64) workgroups.
// The last vec4 may reach into a buffer's padding: what is computed there is never read.
// Threefry-2x32-20: Salmon, Moraes, Dror, Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, 2011.
override accumulate: bool = true; // false: out is written
struct Params { vectors: u32, key_x: u32, key_y: u32, threshold: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.vectors) { return; }
  let key = vec2<u32>(params.key_x, params.key_y);
  let low = threefry(key, vec2<u32>(2u * i, 3u));
  let high = threefry(key, vec2<u32>(2u * i + 1u, 3u));
  let is_kept = vec4<u32>(low, high) >= vec4<u32>(params.threshold);
  let kept = select(vec4<f32>(), params.scale * x[i], is_kept);
  if (accumulate) {
    out[i] += kept;
  } else {
    out[i] = kept;
  }
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
