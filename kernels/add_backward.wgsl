// Gradient of out = factor x + ...: d_x += factor d_out, element by element.
// d_out, d_x: any shape, read as vec4 (V = ceil(size / 4)). Dispatch: one vec4 a lane, ceil(V / 64) workgroups.
// The last vec4 may reach into a buffer's padding: what is computed there is never read.
struct Params { vectors: u32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> d_x: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.vectors) { return; }
  d_x[i] += params.factor * d_out[i];
}
