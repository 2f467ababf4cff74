// out[r] = factor * sum over D of log N(value; mean, exp(log_std))
//        = factor * sum over D of -z^2 / 2 - log_std - log(2 pi) / 2, with z = (value - mean) / exp(log_std).
// mean, log_std, value [N, D]; out [N]; factor 1 or 1 / D. Dispatch: 8 lanes a row, ceil(N / 8) workgroups.
struct Params { rows: u32, dim: u32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mean: array<f32>;
@group(0) @binding(2) var<storage, read> log_std: array<f32>;
@group(0) @binding(3) var<storage, read> value: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const HALF_LOG_TWO_PI: f32 = 0.9189385332046727;
var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 8u + lane / 8u;
  var sum = 0.0;
  if (row < params.rows) {
    let end = (row + 1u) * params.dim;
    for (var i = row * params.dim + lane % 8u; i < end; i += 8u) {
      let z = (value[i] - mean[i]) * exp(-log_std[i]);
      sum -= 0.5 * z * z + log_std[i] + HALF_LOG_TWO_PI;
    }
  }
  sums[lane] = sum;
  workgroupBarrier();
  if (lane % 8u == 0u && row < params.rows) {
    let low = sums[lane] + sums[lane + 1u] + sums[lane + 2u] + sums[lane + 3u];
    let high = sums[lane + 4u] + sums[lane + 5u] + sums[lane + 6u] + sums[lane + 7u];
    out[row] = params.factor * (low + high);
  }
}
