// out[i] = log_prob[i] where the event happened, else log(1 - exp(log_prob[i])).
// log_prob [N], log-probabilities of an event; happened [N]: 0 or 1; out [N]. Dispatch: one lane a number,
// ceil(N / 64) workgroups. 1 - p is kept at 2^-24 or above: what is left of 1 in float32.
struct Params { size: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> log_prob: array<f32>;
@group(0) @binding(2) var<storage, read> happened: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

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
  // Each form where it is exact: near 0 the series of 1 - exp(x), for a small p that of log(1 - p).
  let rest = select(1.0 - p, -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0))), x > -0.05);
  let small = -p * (1.0 + p / 2.0 * (1.0 + p * 2.0 / 3.0 * (1.0 + p * 3.0 / 4.0)));
  let otherwise = select(log(max(rest, LEAST)), small, p < 0.01);
  out[i] = select(otherwise, x, happened[i] != 0u);
}
