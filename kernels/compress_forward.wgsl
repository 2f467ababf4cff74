// out[g] = sum of x[t] over the tokens t of group g / (s + 1e-5), s = their number n, or sqrt(n) with sqrt_mean.
// x [N, D], out [G, D] (W = D / 4, or D for the form over f32); offsets [G + 1]: group g is offsets[g] to
// offsets[g + 1]; an empty one gives zeros. Dispatch: 8 lanes a group, ceil(G / 8) workgroups.
// CoLaR, the compressed embeddings of its supervised stage.
alias Element = vec4<f32>; // rows that are not whole vec4s: f32, see ops/element_width.ts
override sqrt_mean: bool = true;
struct Params { count: u32, width: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<Element>;

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
    var sum = Element();
    for (var t = begin; t < end; t++) {
      sum += x[t * params.width + c];
    }
    out[g * params.width + c] = sum * scale;
  }
}
