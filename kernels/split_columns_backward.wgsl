// d_x[r, begin + c] += d_out[r, c].
// d_out [N, C]; d_x [N, W]. Dispatch: one lane an element of d_out, ceil(N C / 64) workgroups.
struct Params { rows: u32, width: u32, begin: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_x: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.rows * params.columns) { return; }
  let row = i / params.columns;
  d_x[row * params.width + params.begin + i - row * params.columns] += d_out[i];
}
