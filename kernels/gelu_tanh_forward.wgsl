// out = x (1 + tanh(u)) / 2 = x / (1 + exp(-2 u)) with u = sqrt(2 / pi) (x + 0.044715 x^3): GPT-2's gelu_new.
// x, out: any shape, read as vec4 (V = ceil(size / 4)). Dispatch: one vec4 a lane, ceil(V / 64) workgroups.
// The last vec4 may reach into a buffer's padding: what is computed there is never read.
// Hendrycks and Gimpel, Gaussian Error Linear Units, 2016 (arXiv 1606.08415).
struct Params { vectors: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.vectors) { return; }
  // |x| > 10 is as good as 10: 2 |u| is then 87 and exp neither overflows nor is undefined.
  let v = clamp(x[i], vec4(-10.0), vec4(10.0));
  let minus_2u = -1.5957691216 * v * (1.0 + 0.044715 * v * v);
  out[i] = x[i] / (1.0 + exp(minus_2u));
}
