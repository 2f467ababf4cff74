// cache[slots[n]] = x[n]: new tokens' keys or values go to their slots; no slot is written twice.
// x [N, C]; cache [S, C]; slots [N]; width: elements of a row. Dispatch: one lane an element of x, ceil(N C / 64).
struct Params { size: u32, width: u32 }
alias Element = vec4<f32>;
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<Element>;
@group(0) @binding(3) var<storage, read_write> cache: array<Element>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.size) { return; }
  let row = i / params.width;
  cache[slots[row] * params.width + i - row * params.width] = x[i];
}
