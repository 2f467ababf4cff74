// out = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps), row by row, for subgroups of 8 and D % 4 == 0.
// x, out [N, D]; weight [D], read as vec4 (W = D / 4); rstd [N].
// Dispatch: one subgroup for 4 rows, which share the loads of weight; ceil(N / 4) workgroups.
// Software Vulkan pays for each load, so few loads and no workgroup memory; rows past the end repeat the last one.
// Zhang and Sennrich, Root Mean Square Layer Normalization, 2019 (arXiv 1910.07467).
struct Params { rows: u32, width: u32, eps: f32 }
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
  let first = (group.y * groups.x + group.x) * 4u;
  if (first >= params.rows) { return; }
  let last = params.rows - 1u;
  let rows = min(first + vec4(0u, 1u, 2u, 3u), vec4(last));
  let begin = rows * params.width;
  var s0 = vec4(0.0);
  var s1 = vec4(0.0);
  var s2 = vec4(0.0);
  var s3 = vec4(0.0);
  for (var i = lane; i < params.width; i += 8u) {
    let x0 = x[begin.x + i];
    let x1 = x[begin.y + i];
    let x2 = x[begin.z + i];
    let x3 = x[begin.w + i];
    s0 += x0 * x0;
    s1 += x1 * x1;
    s2 += x2 * x2;
    s3 += x3 * x3;
  }
  let one = vec4(1.0);
  let sums = subgroupAdd(vec4(dot(s0, one), dot(s1, one), dot(s2, one), dot(s3, one)));
  let r = 1.0 / sqrt(sums / f32(4u * params.width) + params.eps);
  if (lane < 4u) { rstd[rows[lane]] = r[lane]; }
  for (var i = lane; i < params.width; i += 8u) {
    let w = weight[i];
    out[begin.x + i] = x[begin.x + i] * r.x * w;
    out[begin.y + i] = x[begin.y + i] * r.y * w;
    out[begin.z + i] = x[begin.z + i] * r.z * w;
    out[begin.w + i] = x[begin.w + i] * r.w * w;
  }
}
