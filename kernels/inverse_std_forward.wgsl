// out[r] = 1 / std of all numbers of the rows of r's group; std with the divisor count - 1, as torch.Tensor.std.
// x [N, D], groups of `group_rows` consecutive rows; out [N]. Dispatch: one workgroup a group.
struct Params { rows: u32, dim: u32, group_rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

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
  let first_row = (group.y * groups.x + group.x) * params.group_rows;
  if (first_row >= params.rows) { return; }
  let begin = first_row * params.dim;
  let count = params.group_rows * params.dim;
  var sum = 0.0;
  for (var i = lane; i < count; i += 64u) { sum += x[begin + i]; }
  let mean = workgroup_sum(sum, lane) / f32(count);
  var squares = 0.0;
  for (var i = lane; i < count; i += 64u) {
    squares += (x[begin + i] - mean) * (x[begin + i] - mean);
  }
  let inverse = 1.0 / sqrt(workgroup_sum(squares, lane) / f32(count - 1u));
  for (var row = lane; row < params.group_rows; row += 64u) { out[first_row + row] = inverse; }
}
