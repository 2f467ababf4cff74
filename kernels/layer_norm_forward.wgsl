// out = (x - mean) * rstd * weight + bias with rstd = 1 / sqrt(mean((x - mean)^2) + eps), row by row.
// x, out [N, D]; weight, bias [D]; mean, rstd [N]. Dispatch: one workgroup a row, N workgroups.
// Ba, Kiros and Hinton, Layer Normalization, 2016 (arXiv 1607.06450).
struct Params { rows: u32, dim: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<storage, read_write> mean: array<f32>;
@group(0) @binding(6) var<storage, read_write> rstd: array<f32>;

var<workgroup> sums: array<f32, 64>;

// The sum of `value` over the workgroup's lanes, in a fixed order.
fn workgroup_sum(value: f32, lane: u32) -> f32 {
  sums[lane] = value;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half /= 2u) {
    if (lane < half) { sums[lane] += sums[lane + half]; }
    workgroupBarrier();
  }
  let total = sums[0];
  workgroupBarrier(); // the next call writes
  return total;
}

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
  for (var i = begin + lane; i < end; i += 64u) { sum += x[i]; }
  let m = workgroup_sum(sum, lane) / f32(params.dim);
  var square = 0.0;
  for (var i = begin + lane; i < end; i += 64u) { square += (x[i] - m) * (x[i] - m); }
  let r = 1.0 / sqrt(workgroup_sum(square, lane) / f32(params.dim) + params.eps);
  if (lane == 0u) {
    mean[row] = m;
    rstd[row] = r;
  }
  for (var i = begin + lane; i < end; i += 64u) {
    out[i] = (x[i] - m) * r * weight[i - begin] + bias[i - begin];
  }
}
