// First stage of the weight's gradient: partial[c] = sum of d_out * x * rstd over chunk c of `chunk` rows, in order.
// x, d_out [N, D]; rstd [N]; partial [C, D], C = ceil(N / chunk). The second stage is column_sum.wgsl.
// Dispatch: one column a lane, [ceil(D / 64), C] workgroups.
struct Params { rows: u32, dim: u32, chunk: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let column = group.x * 64u + lane;
  if (column >= params.dim) { return; }
  let end = min((group.y + 1u) * params.chunk, params.rows);
  var sum = 0.0;
  for (var row = group.y * params.chunk; row < end; row++) {
    let i = row * params.dim + column;
    sum += d_out[i] * x[i] * rstd[row];
  }
  partial[group.y * params.dim + column] = sum;
}
