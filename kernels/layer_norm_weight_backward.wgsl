// First stage of the gradients of weight and bias, over chunk c of `chunk` rows, in order:
// partial_weight[c] = sum of d_out * (x - mean) * rstd, partial_bias[c] = sum of d_out.
// x, d_out [N, D]; mean, rstd [N]; partials [C, D], C = ceil(N / chunk). Second stage: column_sum.wgsl.
// Dispatch: one column a lane, [ceil(D / 64), C] workgroups.
struct Params { rows: u32, dim: u32, chunk: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> rstd: array<f32>;
@group(0) @binding(5) var<storage, read_write> partial_weight: array<f32>;
@group(0) @binding(6) var<storage, read_write> partial_bias: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let column = group.x * 64u + lane;
  if (column >= params.dim) { return; }
  let end = min((group.y + 1u) * params.chunk, params.rows);
  var to_weight = 0.0;
  var to_bias = 0.0;
  for (var row = group.y * params.chunk; row < end; row++) {
    let i = row * params.dim + column;
    to_weight += d_out[i] * (x[i] - mean[row]) * rstd[row];
    to_bias += d_out[i];
  }
  partial_weight[group.y * params.dim + column] = to_weight;
  partial_bias[group.y * params.dim + column] = to_bias;
}
