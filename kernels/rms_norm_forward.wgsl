// out = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps), row by row.
// x, out [N, D]; weight [D]; rstd [N]. Dispatch: one workgroup a row, N workgroups.
// Zhang and Sennrich, Root Mean Square Layer Normalization, 2019 (arXiv 1910.07467).
struct Params { rows: u32, dim: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;

var<workgroup> sums: array<f32, 64>;

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
  var sum = 0.0;
  for (var i = begin + lane; i < end; i += 64u) {
    sum += x[i] * x[i];
  }
  sums[lane] = sum;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half /= 2u) {
    if (lane < half) { sums[lane] += sums[lane + half]; }
    workgroupBarrier();
  }
  let r = 1.0 / sqrt(sums[0] / f32(params.dim) + params.eps);
  if (lane == 0u) { rstd[row] = r; }
  for (var i = begin + lane; i < end; i += 64u) {
    out[i] = x[i] * r * weight[i - begin];
  }
}
