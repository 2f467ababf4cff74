// out[r, c] = x[r, begin + c]: a range of columns as a dense array.
// x [N, W]; out [N, C]. Dispatch: one lane an element of out, ceil(N C / 64) workgroups.
struct Params { rows: u32, width: u32, begin: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.rows * params.columns) { return; }
  let row = i / params.columns;
  out[i] = x[row * params.width + params.begin + i - row * params.columns];
}
