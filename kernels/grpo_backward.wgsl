// d_log_prob[i] -= d_out[i] * r A where the unclipped term is the smaller one, r = exp(log_prob - old): where the ratio
// has left the interval in the direction that the advantage rewards, no gradient passes.
// log_prob, old, advantage, d_out, d_log_prob [N]. Dispatch: one lane a token, ceil(N / 64) workgroups.
struct Params { size: u32, clip_eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> log_prob: array<f32>;
@group(0) @binding(2) var<storage, read> old: array<f32>;
@group(0) @binding(3) var<storage, read> advantage: array<f32>;
@group(0) @binding(4) var<storage, read> d_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_log_prob: array<f32>;

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
  let gain = ratio * advantage[i];
  // Inside the interval both terms are equal.
  if (gain <= clipped * advantage[i]) { d_log_prob[i] -= d_out[i] * gain; }
}
