// d_log_std += d_out[r] / D.
// d_log_std [N, D]; d_out [N]. Dispatch: 8 lanes a row, ceil(N / 8) workgroups.
struct Params { rows: u32, dim: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_log_std: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 8u + lane / 8u;
  if (row >= params.rows) { return; }
  let d = d_out[row] / f32(params.dim);
  let end = (row + 1u) * params.dim;
  for (var i = row * params.dim + lane % 8u; i < end; i += 8u) {
    d_log_std[i] += d;
  }
}
