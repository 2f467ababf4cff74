// Gradient of out[m] = x[index[m]]: d_x[row] += sum of d_out[m] over all m with index[m] = row, m ascending.
// used_rows [U] are the distinct rows; entries[offsets[u]] to entries[offsets[u + 1]] are the m of used_rows[u].
// d_x [num_rows, D] begins at first_row; d_out [M, D] (W = D / 4, or D for the form over f32).
// Dispatch: 8 lanes a used row, ceil(U / 8) workgroups; one dispatch for each range of d_x that fits a binding.
alias Element = vec4<f32>; // rows that are not whole vec4s: f32, see ops/element_width.ts
override accumulate: bool = true; // false: the gradient is all zeros and is written
struct Params { count: u32, width: u32, first_row: u32, num_rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<Element>;
@group(0) @binding(2) var<storage, read> used_rows: array<u32>;
@group(0) @binding(3) var<storage, read> offsets: array<u32>;
@group(0) @binding(4) var<storage, read> entries: array<u32>;
@group(0) @binding(5) var<storage, read_write> d_x: array<Element>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let u = (group.y * groups.x + group.x) * 8u + (lane >> 3u);
  if (u >= params.count) { return; }
  let row = used_rows[u] - params.first_row;
  if (row >= params.num_rows) { return; }
  let end = offsets[u + 1u];
  for (var c = lane & 7u; c < params.width; c += 8u) {
    var sum = Element();
    for (var k = offsets[u]; k < end; k++) {
      sum += d_out[entries[k] * params.width + c];
    }
    let i = row * params.width + c;
    if (accumulate) { sum += d_x[i]; }
    d_x[i] = sum;
  }
}
