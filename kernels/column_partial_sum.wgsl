// Second stage of a parameter's gradient: d_weight += sum over c of partial[c], in the order of c.
// partial [C, D]; d_weight [D]. Dispatch: one column a lane, ceil(D / 64) workgroups.
struct Params { chunks: u32, dim: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_weight: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let column = group.x * 64u + lane;
  if (column >= params.dim) { return; }
  var sum = 0.0;
  for (var c = 0u; c < params.chunks; c++) {
    sum += partial[c * params.dim + column];
  }
  d_weight[column] += sum;
}
