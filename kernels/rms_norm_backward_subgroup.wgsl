// Gradients of out = x * rstd * weight, row by row, for subgroups of 8 and D % 4 == 0:
// d_x += rstd * (d_out * weight - x * rstd^2 * mean(d_out * weight * x)), and with `weighted` the first stage of the
// weight's: partial[c] = sum of d_out * x * rstd over chunk c of `chunk` rows; the second is column_partial_sum.wgsl.
// x, d_out, d_x [N, D], weight [D], partial [C, D], read as vec4 (W = D / 4); rstd [N]; C = ceil(N / chunk).
// Dispatch: one subgroup a chunk, 4 rows at a time (chunk % 4 == 0), C workgroups.
override weighted: bool = true;
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
  let c = group.y * groups.x + group.x;
  let to = c * params.width;
  let end = min((c + 1u) * params.chunk, params.rows);
  for (var first = c * params.chunk; first < end; first += 4u) {
    // Rows past the end repeat the last one and are multiplied by zero.
    let wanted = first + vec4(0u, 1u, 2u, 3u);
    let rows = min(wanted, vec4(end - 1u));
    let keep = vec4<f32>(wanted < vec4(end));
    let begin = rows * params.width;
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    for (var i = lane; i < params.width; i += 8u) {
      let w = weight[i];
      s0 += d_out[begin.x + i] * w * x[begin.x + i];
      s1 += d_out[begin.y + i] * w * x[begin.y + i];
      s2 += d_out[begin.z + i] * w * x[begin.z + i];
      s3 += d_out[begin.w + i] * w * x[begin.w + i];
    }
    let one = vec4(1.0);
    let sums = subgroupAdd(vec4(dot(s0, one), dot(s1, one), dot(s2, one), dot(s3, one)));
    let r = vec4(rstd[rows.x], rstd[rows.y], rstd[rows.z], rstd[rows.w]) * keep;
    let f = r * r * r * sums / f32(4u * params.width);
    for (var i = lane; i < params.width; i += 8u) {
      let w = weight[i];
      let x0 = x[begin.x + i];
      let x1 = x[begin.y + i];
      let x2 = x[begin.z + i];
      let x3 = x[begin.w + i];
      let g0 = d_out[begin.x + i] * r.x;
      let g1 = d_out[begin.y + i] * r.y;
      let g2 = d_out[begin.z + i] * r.z;
      let g3 = d_out[begin.w + i] * r.w;
      d_x[begin.x + i] += g0 * w - x0 * f.x;
      d_x[begin.y + i] += g1 * w - x1 * f.y;
      d_x[begin.z + i] += g2 * w - x2 * f.z;
      d_x[begin.w + i] += g3 * w - x3 * f.w;
      if (weighted) {
        let sum = g0 * x0 + g1 * x1 + g2 * x2 + g3 * x3;
        if (first == c * params.chunk) {
          partial[to + i] = sum;
        } else {
          partial[to + i] += sum;
        }
      }
    }
  }
}
