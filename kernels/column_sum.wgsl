// out[part, col] (+)= sum of x[row, col] over the rows of one part, in order.
// x [rows, ldx], out [ceil(rows / part_rows), columns]. One lane a column. Dispatch: z = part, x and y together
// ceil(columns / 64).
// A sum over all rows is two calls: parts, then the parts as rows. No atomics: runs are bit-identical.
struct Params { rows: u32, columns: u32, ldx: u32, part_rows: u32, accumulate: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let col = (group.y * groups.x + group.x) * 64u + lane;
  if (col >= params.columns) { return; }
  let begin = group.z * params.part_rows;
  let end = min(begin + params.part_rows, params.rows);
  let ld = params.ldx;
  var sum = 0.0;
  var row = begin;
  for (; row + 4u <= end; row += 4u) {
    let at = row * ld + col;
    sum += (x[at] + x[at + ld]) + (x[at + 2u * ld] + x[at + 3u * ld]);
  }
  for (; row < end; row++) { sum += x[row * ld + col]; }
  let at = group.z * params.columns + col;
  if (params.accumulate != 0u) { sum += out[at]; }
  out[at] = sum;
}
