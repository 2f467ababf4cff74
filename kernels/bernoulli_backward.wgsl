// d_log_prob[i] += d_out[i] where the event happened, else -d_out[i] * p / (1 - p) with p = exp(log_prob[i]).
// log_prob, happened, d_out, d_log_prob [N]. Dispatch: one lane a number, ceil(N / 64) workgroups.
struct Params { size: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> log_prob: array<f32>;
@group(0) @binding(2) var<storage, read> happened: array<u32>;
@group(0) @binding(3) var<storage, read> d_out: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_log_prob: array<f32>;

const LEAST: f32 = 5.9604645e-8;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.size) { return; }
  let x = log_prob[i];
  let p = exp(x);
  let rest = select(1.0 - p, -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0))), x > -0.05);
  d_log_prob[i] += d_out[i] * select(-p / max(rest, LEAST), 1.0, happened[i] != 0u);
}
