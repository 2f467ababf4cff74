// d_x += sign * d_out[r] * 2 (x - goal) / D; sign 1 for the gradient of x, -1 for that of goal.
// x, goal, d_x [N, D]; d_out [N]. Dispatch: 8 lanes a row, ceil(N / 8) workgroups.
struct Params { rows: u32, dim: u32, sign: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> goal: array<f32>;
@group(0) @binding(3) var<storage, read> d_out: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_x: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 8u + lane / 8u;
  if (row >= params.rows) { return; }
  let factor = d_out[row] * params.sign * 2.0 / f32(params.dim);
  // A row without a gradient may hold anything: 0 * NaN would be NaN.
  if (factor == 0.0) { return; }
  let end = (row + 1u) * params.dim;
  for (var i = row * params.dim + lane % 8u; i < end; i += 8u) {
    d_x[i] += factor * (x[i] - goal[i]);
  }
}
