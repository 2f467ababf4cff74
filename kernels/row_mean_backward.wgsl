// d_values[r] += d_out[0] * factor * weights[r].
// weights, d_values [N] (weights unused unless `weighted`); d_out [1]. Dispatch: one lane a row, ceil(N / 64) workgroups.
struct Params { rows: u32, weighted: u32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_values: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 64u + lane;
  if (row >= params.rows) { return; }
  // The weight is read only where it is bound in earnest: `weights` has one element otherwise.
  var weight = 1.0;
  if (params.weighted != 0u) { weight = weights[row]; }
  d_values[row] += d_out[0] * params.factor * weight;
}
