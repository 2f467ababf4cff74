// Gradient of out[g] = sum of x[t] / (s + 1e-5): d_x[t] += d_out[g] / (s + 1e-5) for the tokens t of group g,
// s = their number n, or sqrt(n) with sqrt_mean.
// d_x [N, D], d_out [G, D] (W = D / 4, or D for the form over f32); offsets [G + 1].
// Dispatch: 8 lanes a group, ceil(G / 8) workgroups. A token is in at most one group, so no sum is shared.
alias Element = vec4<f32>; // rows that are not whole vec4s: f32, see ops/element_width.ts
override sqrt_mean: bool = true;
override accumulate: bool = true; // false: the gradient is all zeros and is written
struct Params { count: u32, width: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<Element>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read_write> d_x: array<Element>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let g = (group.y * groups.x + group.x) * 8u + (lane >> 3u);
  if (g >= params.count) { return; }
  let begin = offsets[g];
  let end = offsets[g + 1u];
  let n = f32(end - begin);
  let scale = 1.0 / (select(n, sqrt(n), sqrt_mean) + 1e-5);
  for (var c = lane & 7u; c < params.width; c += 8u) {
    let d = d_out[g * params.width + c] * scale;
    for (var t = begin; t < end; t++) {
      let i = t * params.width + c;
      if (accumulate) {
        d_x[i] += d;
      } else {
        d_x[i] = d;
      }
    }
  }
}
