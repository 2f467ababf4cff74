// out = (x - mean) * rstd * weight + bias with rstd = 1 / sqrt(mean((x - mean)^2) + eps), row by row, for subgroups
// of 8 and D % 4 == 0.
// x, out [N, D]; weight, bias [D], read as vec4 (W = D / 4); mean, rstd [N].
// Dispatch: one subgroup for a chunk of rows, ceil(N / chunk) workgroups. VECTORS = ceil(W / 8) vec4 a lane.
// Software Vulkan pays for each load, so the row and the parameters stay in registers; no workgroup memory.
// Ba, Kiros and Hinton, Layer Normalization, 2016 (arXiv 1607.06450).
const VECTORS: u32 = 4u;
struct Params { rows: u32, width: u32, chunk: u32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> mean: array<f32>;
@group(0) @binding(6) var<storage, read_write> rstd: array<f32>;

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  var w: array<vec4<f32>, VECTORS>;
  var b: array<vec4<f32>, VECTORS>;
  for (var v = 0u; v < VECTORS; v++) {
    let i = 8u * v + lane;
    if (i < params.width) {
      w[v] = weight[i];
      b[v] = bias[i];
    }
  }
  let dim = f32(4u * params.width);
  let begin = (group.y * groups.x + group.x) * params.chunk;
  let end = min(begin + params.chunk, params.rows);
  for (var row = begin; row < end; row++) {
    var a: array<vec4<f32>, VECTORS>;
    var sum = vec4(0.0);
    for (var v = 0u; v < VECTORS; v++) {
      let i = 8u * v + lane;
      if (i < params.width) {
        a[v] = x[row * params.width + i];
        sum += a[v];
      }
    }
    let m = subgroupAdd(sum.x + sum.y + sum.z + sum.w) / dim;
    var square = vec4(0.0);
    for (var v = 0u; v < VECTORS; v++) {
      if (8u * v + lane < params.width) { square += (a[v] - m) * (a[v] - m); }
    }
    let r = 1.0 / sqrt(subgroupAdd(square.x + square.y + square.z + square.w) / dim + params.eps);
    if (lane == 0u) {
      mean[row] = m;
      rstd[row] = r;
    }
    for (var v = 0u; v < VECTORS; v++) {
      let i = 8u * v + lane;
      if (i < params.width) { out[row * params.width + i] = (a[v] - m) * r * w[v] + b[v]; }
    }
  }
}
