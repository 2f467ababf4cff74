// Gradient of out = x s with s = 1 / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3):
// d_x += d_out * (s + x s (1 - s) 2 u'), u' = sqrt(2 / pi) (1 + 3 * 0.044715 x^2).
// x, d_out, d_x: any shape, read as vec4 (V = ceil(size / 4)). Dispatch: one vec4 a lane, ceil(V / 64) workgroups.
// The last vec4 may reach into a buffer's padding: what is computed there is never read.
override accumulate: bool = true; // false: the gradient holds nothing yet and is written
struct Params { vectors: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> d_x: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.vectors) { return; }
  // |x| > 10 is as good as 10, see gelu_tanh_forward.wgsl.
  let v = clamp(x[i], vec4(-10.0), vec4(10.0));
  let e = exp(-1.5957691216 * v * (1.0 + 0.044715 * v * v));
  let s = 1.0 / (1.0 + e);
  let slope = 1.5957691216 * (1.0 + 0.134145 * v * v);
  var d = d_out[i] * s * (1.0 + v * (e * s) * slope); // e s = 1 - s without cancellation
  if (accumulate) { d += d_x[i]; }
  d_x[i] = d;
}
