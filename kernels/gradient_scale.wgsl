// d_x *= coefficient[0].
// d_x: `size` numbers; coefficient [1]. Dispatch: one vec4 a lane, ceil(size / 256) workgroups. The last vec4 may reach
// past the end: bindings are whole vec4s and nothing reads that padding.
struct Params { size: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> coefficient: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_x: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (4u * i >= params.size) { return; }
  let c = coefficient[0];
  if (c != 1.0) { d_x[i] *= c; }
}
