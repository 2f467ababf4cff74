// d_x[n] += d_cache[slots[n]]: the gradient of a cache's slots goes back to the tokens that were written there.
// d_x [N, C]; d_cache [S, C]; slots [N]; width: elements of a row. Dispatch: one lane an element of d_x, ceil(N C / 64).
struct Params { size: u32, width: u32 }
alias Element = vec4<f32>;
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> d_cache: array<Element>;
@group(0) @binding(3) var<storage, read_write> d_x: array<Element>;
const ACCUMULATE: bool = true; // false: d_x holds nothing yet

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.size) { return; }
  let row = i / params.width;
  var d = d_cache[slots[row] * params.width + i - row * params.width];
  if (ACCUMULATE) { d += d_x[i]; }
  d_x[i] = d;
}
