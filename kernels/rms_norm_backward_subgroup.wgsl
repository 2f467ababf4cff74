// Gradients of out = x * rstd * weight, row by row, for subgroups of 8 and D % 4 == 0:
// d_x += rstd * (d_out * weight - x * rstd^2 * mean(d_out * weight * x)), and with `weighted` the first stage of the
// weight's: partial[c] = sum of d_out * x * rstd over chunk c of `chunk` rows; the second is column_sum.wgsl.
// x, d_out, d_x [N, D], weight [D], partial [C, D], read as vec4 (W = D / 4); rstd [N]; C = ceil(N / chunk).
// Dispatch: one subgroup a chunk, C workgroups. VECTORS = ceil(W / 8) vec4 a lane.
override weighted: bool = true;
override accumulate: bool = true; // false: d_x holds nothing yet and is written
const VECTORS: u32 = 4u;
struct Params { rows: u32, width: u32, chunk: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> rstd: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_x: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  var w: array<vec4<f32>, VECTORS>;
  var d_w: array<vec4<f32>, VECTORS>;
  for (var v = 0u; v < VECTORS; v++) {
    let i = 8u * v + lane;
    if (i < params.width) { w[v] = weight[i]; }
  }
  let c = group.y * groups.x + group.x;
  let end = min((c + 1u) * params.chunk, params.rows);
  for (var row = c * params.chunk; row < end; row++) {
    let begin = row * params.width;
    let r = rstd[row];
    var a: array<vec4<f32>, VECTORS>;
    var b: array<vec4<f32>, VECTORS>;
    var product = vec4(0.0);
    for (var v = 0u; v < VECTORS; v++) {
      let i = 8u * v + lane;
      if (i < params.width) {
        let normal = x[begin + i] * r;
        let d = d_out[begin + i];
        if (weighted) { d_w[v] += d * normal; }
        a[v] = normal;
        b[v] = d * w[v];
        product += normal * b[v];
      }
    }
    let sum = subgroupAdd(product.x + product.y + product.z + product.w);
    let mean = sum / f32(4u * params.width);
    for (var v = 0u; v < VECTORS; v++) {
      let i = 8u * v + lane;
      if (i < params.width) {
        var d = r * (b[v] - a[v] * mean);
        if (accumulate) { d += d_x[begin + i]; }
        d_x[begin + i] = d;
      }
    }
  }
  if (weighted) {
    for (var v = 0u; v < VECTORS; v++) {
      let i = 8u * v + lane;
      if (i < params.width) { partial[c * params.width + i] = d_w[v]; }
    }
  }
}
