// Gradient of out = silu(gate) * up, with s = 1 / (1 + exp(-gate)):
// d_gate += d_out * up * s * (1 + gate * (1 - s)), d_up += d_out * gate * s.
// All [N, F], read as vec4 (V = ceil(N F / 4)). Dispatch: one vec4 a lane, ceil(V / 64) workgroups.
// The last vec4 may reach into a buffer's padding: what is computed there is never read.
// false: the gradient holds nothing yet and is written
override accumulate_gate: bool = true;
override accumulate_up: bool = true;
struct Params { vectors: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> up: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> d_gate: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> d_up: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.vectors) { return; }
  let x = gate[i];
  let d = d_out[i];
  let e = exp(min(-x, vec4(87.0)));
  let s = 1.0 / (1.0 + e);
  var to_gate = d * up[i] * s * (1.0 + x * (e * s)); // e s = 1 - s without cancellation
  var to_up = d * x * s;
  if (accumulate_gate) { to_gate += d_gate[i]; }
  if (accumulate_up) { to_up += d_up[i]; }
  d_gate[i] = to_gate;
  d_up[i] = to_up;
}
