// out[i] = -min(r A, clip(r, 1 - eps, 1 + eps) A) with r = exp(log_prob - old): the clipped surrogate of one token.
// log_prob, old, advantage, out [N]. Dispatch: one lane a token, ceil(N / 64) workgroups.
// Schulman et al., Proximal Policy Optimization Algorithms, 2017, equation 7.
struct Params { size: u32, clip_eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> log_prob: array<f32>;
@group(0) @binding(2) var<storage, read> old: array<f32>;
@group(0) @binding(3) var<storage, read> advantage: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.size) { return; }
  let ratio = exp(log_prob[i] - old[i]);
  let clipped = clamp(ratio, 1.0 - params.clip_eps, 1.0 + params.clip_eps);
  out[i] = -min(ratio * advantage[i], clipped * advantage[i]);
}
