// destination[to_begin + i] += source[from_begin + i] for i < count: the gradient of rows that were cut out or laid
// end to end. All in elements of either array. Dispatch: one element a lane, ceil(count / 64) workgroups.
alias Element = vec4<f32>; // rows that are not whole vec4s: f32, see ops/element_width.ts
struct Params { count: u32, from_begin: u32, to_begin: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Element>;
@group(0) @binding(2) var<storage, read_write> destination: array<Element>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.count) { return; }
  destination[params.to_begin + i] += source[params.from_begin + i];
}
