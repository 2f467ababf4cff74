// out[m] = x[min(index[m], last_row)] for the rows of x that are bound: first_row and the num_rows after it.
// x [num_rows, D], out [M, D] (W = D / 4, or D for the form over f32); index [M].
// Dispatch: 8 lanes a row of out, ceil(M / 8) workgroups; one dispatch for each range of x that fits a binding.
alias Element = vec4<f32>; // rows that are not whole vec4s: f32, see ops/element_width.ts
struct Params { count: u32, width: u32, first_row: u32, num_rows: u32, last_row: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<Element>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let m = (group.y * groups.x + group.x) * 8u + (lane >> 3u);
  if (m >= params.count) { return; }
  // An index below first_row wraps to a huge number and is left to another range, as one above it.
  let row = min(index[m], params.last_row) - params.first_row;
  if (row >= params.num_rows) { return; }
  for (var c = lane & 7u; c < params.width; c += 8u) {
    out[m * params.width + c] = x[row * params.width + c];
  }
}
