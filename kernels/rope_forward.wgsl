// out_i = x_i cos - x_{i+E/2} sin, out_{i+E/2} = x_{i+E/2} cos + x_i sin: every head's halves turned by the angle of the
// token's position. x, out [N, heads*E]; cos, sin [P, E/2]; positions [N]; half: elements of E/2.
// Dispatch: one lane an element of a token's angles, for all heads, ceil(N half / 64).
// Source: Su et al., RoFormer, 2021, in the half-split order of Llama checkpoints.
struct Params { size: u32, heads: u32, half: u32 }
alias Element = vec4<f32>;
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> cos_table: array<Element>;
@group(0) @binding(3) var<storage, read> sin_table: array<Element>;
@group(0) @binding(4) var<storage, read> x: array<Element>;
@group(0) @binding(5) var<storage, read_write> out: array<Element>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let angle = (group.y * groups.x + group.x) * 64u + lane;
  if (angle >= params.size) { return; }
  let token = angle / params.half;
  let i = angle - token * params.half;
  let at = positions[token] * params.half + i;
  let c = cos_table[at];
  let s = sin_table[at];
  for (var h = 0u; h < params.heads; h++) {
    let first = (token * params.heads + h) * params.half * 2u + i;
    let second = first + params.half;
    let a = x[first];
    let b = x[second];
    out[first] = a * c - b * s;
    out[second] = b * c + a * s;
  }
}
