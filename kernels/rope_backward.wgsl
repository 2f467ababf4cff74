// d_x_i += d_i cos + d_{i+E/2} sin, d_x_{i+E/2} += d_{i+E/2} cos - d_i sin with d = d_out: the rotation of rope_forward
// turned back. d_x, d_out [N, heads*E]; cos, sin [P, E/2]; positions [N]; pairs: elements of a token's first halves,
// half: elements of E/2. Dispatch: one lane an element of the first halves, ceil(size / 64).
struct Params { size: u32, pairs: u32, half: u32 }
alias Element = vec4<f32>;
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> cos_table: array<Element>;
@group(0) @binding(3) var<storage, read> sin_table: array<Element>;
@group(0) @binding(4) var<storage, read> d_out: array<Element>;
@group(0) @binding(5) var<storage, read_write> d_x: array<Element>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let pair = (group.y * groups.x + group.x) * 64u + lane;
  if (pair >= params.size) { return; }
  let head = pair / params.half; // counted over all tokens
  let i = pair - head * params.half;
  let angle = positions[pair / params.pairs] * params.half + i;
  let first = head * params.half * 2u + i;
  let second = first + params.half;
  let c = cos_table[angle];
  let s = sin_table[angle];
  let a = d_out[first];
  let b = d_out[second];
  d_x[first] += a * c + b * s;
  d_x[second] += b * c - a * s;
}
