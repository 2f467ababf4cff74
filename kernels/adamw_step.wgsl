// One step of AdamW on one tensor, element by element:
//   m += (1 - beta1) (d_x - m);  v = beta2 v + (1 - beta2) d_x^2;
//   x = decay x - step_size m / (sqrt(v) / correction + eps)
// with decay = 1 - lr weight_decay, step_size = lr / (1 - beta1^t), correction = sqrt(1 - beta2^t), made on the host.
// d_x, x, m, v: `size` numbers. Dispatch: one vec4 a lane, ceil(size / 256) workgroups. The last vec4 may reach past the
// end: bindings are whole vec4s and nothing reads that padding.
// Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019; torch.optim.AdamW.
struct Params {
  size: u32, decay: f32, step_size: f32, correction: f32, eps: f32,
  beta1_rest: f32, beta2: f32, beta2_rest: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> v: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (4u * i >= params.size) { return; }
  let d = d_x[i];
  let before = m[i];
  let first = before + params.beta1_rest * (d - before);
  let second = params.beta2 * v[i] + params.beta2_rest * d * d;
  m[i] = first;
  v[i] = second;
  let divisor = sqrt(second) / params.correction + params.eps;
  x[i] = params.decay * x[i] - params.step_size * (first / divisor);
}
