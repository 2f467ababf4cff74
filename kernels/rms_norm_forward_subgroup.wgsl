// out = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps), row by row, for subgroups of 8 and D % 4 == 0.
// x, out [N, D]; weight [D], read as vec4 (W = D / 4); rstd [N].
// Dispatch: one subgroup for a chunk of rows, ceil(N / chunk) workgroups. VECTORS = ceil(W / 8) vec4 a lane.
// Software Vulkan pays for each load, so the row and the weight stay in registers; no workgroup memory.
// Zhang and Sennrich, Root Mean Square Layer Normalization, 2019 (arXiv 1910.07467).
const VECTORS: u32 = 4u;
struct Params { rows: u32, width: u32, chunk: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  var w: array<vec4<f32>, VECTORS>;
  for (var v = 0u; v < VECTORS; v++) {
    let i = 8u * v + lane;
    if (i < params.width) { w[v] = weight[i]; }
  }
  let begin = (group.y * groups.x + group.x) * params.chunk;
  let end = min(begin + params.chunk, params.rows);
  for (var row = begin; row < end; row++) {
    var a: array<vec4<f32>, VECTORS>;
    var square = vec4(0.0);
    for (var v = 0u; v < VECTORS; v++) {
      let i = 8u * v + lane;
      if (i < params.width) {
        let value = x[row * params.width + i];
        a[v] = value;
        square += value * value;
      }
    }
    let sum = subgroupAdd(square.x + square.y + square.z + square.w);
    let r = 1.0 / sqrt(sum / f32(4u * params.width) + params.eps);
    if (lane == 0u) { rstd[row] = r; }
    for (var v = 0u; v < VECTORS; v++) {
      let i = 8u * v + lane;
      if (i < params.width) { out[row * params.width + i] = a[v] * r * w[v]; }
    }
  }
}
