// Gradient of out = n * weight + bias with n = (x - mean) * rstd, row by row, with d = d_out * weight:
// d_x += rstd * (d - mean(d) - n * mean(d * n)).
// x, d_out, d_x [N, D]; weight [D]; mean, rstd [N]. Dispatch: one workgroup a row, N workgroups.
struct Params { rows: u32, dim: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> rstd: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_x: array<f32>;

var<workgroup> sums: array<vec2<f32>, 64>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * groups.x + group.x;
  if (row >= params.rows) { return; }
  let begin = row * params.dim;
  let end = begin + params.dim;
  let m = mean[row];
  let r = rstd[row];
  var sum = vec2(0.0);
  for (var i = begin + lane; i < end; i += 64u) {
    let d = d_out[i] * weight[i - begin];
    sum += vec2(d, d * (x[i] - m) * r);
  }
  sums[lane] = sum;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half /= 2u) {
    if (lane < half) { sums[lane] += sums[lane + half]; }
    workgroupBarrier();
  }
  let means = sums[0] / f32(params.dim);
  for (var i = begin + lane; i < end; i += 64u) {
    let d = d_out[i] * weight[i - begin];
    d_x[i] += r * (d - means.x - (x[i] - m) * r * means.y);
  }
}
