// Gradients of out = n * weight + bias with n = (x - mean) * rstd, row by row, for subgroups of 8 and D % 4 == 0:
// with d = d_out * weight, d_x += rstd * (d - mean(d) - n * mean(d * n)), and with `weighted` the first stage of the
// parameters' over chunk c of `chunk` rows: partial_weight[c] = sum of d_out * n, partial_bias[c] = sum of d_out.
// x, d_out, d_x [N, D], weight [D], partials [C, D], read as vec4 (W = D / 4); mean, rstd [N]; C = ceil(N / chunk).
// Second stage: column_sum.wgsl. Dispatch: one subgroup a chunk, C workgroups. VECTORS = ceil(W / 8).
override weighted: bool = true;
override accumulate: bool = true; // false: d_x holds nothing yet and is written
const VECTORS: u32 = 4u;
struct Params { rows: u32, width: u32, chunk: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> rstd: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_x: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> partial_weight: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> partial_bias: array<vec4<f32>>;

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  var w: array<vec4<f32>, VECTORS>;
  var d_w: array<vec4<f32>, VECTORS>;
  var d_b: array<vec4<f32>, VECTORS>;
  for (var v = 0u; v < VECTORS; v++) {
    let i = 8u * v + lane;
    if (i < params.width) { w[v] = weight[i]; }
  }
  let c = group.y * groups.x + group.x;
  let end = min((c + 1u) * params.chunk, params.rows);
  for (var row = c * params.chunk; row < end; row++) {
    let begin = row * params.width;
    let m = mean[row];
    let r = rstd[row];
    var n: array<vec4<f32>, VECTORS>;
    var d: array<vec4<f32>, VECTORS>;
    var sum = vec4(0.0);
    var product = vec4(0.0);
    for (var v = 0u; v < VECTORS; v++) {
      let i = 8u * v + lane;
      if (i < params.width) {
        n[v] = (x[begin + i] - m) * r;
        let upstream = d_out[begin + i];
        if (weighted) {
          d_w[v] += upstream * n[v];
          d_b[v] += upstream;
        }
        d[v] = upstream * w[v];
        sum += d[v];
        product += d[v] * n[v];
      }
    }
    let one = vec4(1.0);
    let means = subgroupAdd(vec2(dot(sum, one), dot(product, one))) / f32(4u * params.width);
    for (var v = 0u; v < VECTORS; v++) {
      let i = 8u * v + lane;
      if (i < params.width) {
        var to_x = r * (d[v] - means.x - n[v] * means.y);
        if (accumulate) { to_x += d_x[begin + i]; }
        d_x[begin + i] = to_x;
      }
    }
  }
  if (weighted) {
    for (var v = 0u; v < VECTORS; v++) {
      let i = 8u * v + lane;
      if (i < params.width) {
        partial_weight[c * params.width + i] = d_w[v];
        partial_bias[c * params.width + i] = d_b[v];
      }
    }
  }
}
