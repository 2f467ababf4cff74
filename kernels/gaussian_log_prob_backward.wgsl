// With c = factor * d_out[r] and z = (value - mean) / exp(log_std):
// d_mean += c z / exp(log_std); d_value -= c z / exp(log_std); d_log_std += c (z^2 - 1).
// mean, log_std, value and their gradients [N, D]; d_out [N]. Dispatch: 8 lanes a row, ceil(N / 8) workgroups.
struct Params { rows: u32, dim: u32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> log_std: array<f32>;
@group(0) @binding(4) var<storage, read> value: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_mean: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_log_std: array<f32>;
@group(0) @binding(7) var<storage, read_write> d_value: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 8u + lane / 8u;
  if (row >= params.rows) { return; }
  let c = params.factor * d_out[row];
  // A row without a gradient may hold anything: 0 * NaN would be NaN.
  if (c == 0.0) { return; }
  let end = (row + 1u) * params.dim;
  for (var i = row * params.dim + lane % 8u; i < end; i += 8u) {
    let inverse = exp(-log_std[i]);
    let z = (value[i] - mean[i]) * inverse;
    let d = c * z * inverse;
    d_mean[i] += d;
    d_value[i] -= d;
    d_log_std[i] += c * (z * z - 1.0);
  }
}
