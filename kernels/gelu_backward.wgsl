// Gradient of out = x P(X <= x): d_x += d_out * (P(X <= x) + x exp(-x^2 / 2) / sqrt(2 pi)).
// x, d_out, d_x: any shape, read as vec4 (V = ceil(size / 4)). Dispatch: one vec4 a lane, ceil(V / 64) workgroups.
// The last vec4 may reach into a buffer's padding: what is computed there is never read.
override accumulate: bool = true; // false: the gradient holds nothing yet and is written
struct Params { vectors: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> d_x: array<vec4<f32>>;

// P(X <= x) as in gelu_forward.wgsl, with e = exp(-x^2 / 2).
fn normal_cdf(x: vec4<f32>, e: vec4<f32>) -> vec4<f32> {
  let t = 1.0 / (1.0 + 0.26 * abs(x));
  var p = 0.0310091558 * t - 0.155294922;
  p = p * t + 0.256625789;
  p = p * t - 0.156880779;
  p = p * t + 0.165098025;
  p = p * t + 0.0492307383;
  p = p * t + 0.103499587;
  p = p * t + 0.102949246;
  p = p * t + 0.103763149;
  let tail = t * p * e;
  return select(tail, 1.0 - tail, x > vec4(0.0));
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.vectors) { return; }
  // Beyond 13 both terms are 0 or 1; the bounds keep 0 * infinity out.
  let v = clamp(x[i], vec4(-13.0), vec4(13.0));
  let e = exp(-0.5 * v * v);
  var d = d_out[i] * (normal_cdf(v, e) + v * e * 0.3989422804);
  if (accumulate) { d += d_x[i]; }
  d_x[i] = d;
}
