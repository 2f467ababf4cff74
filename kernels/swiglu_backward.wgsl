// Gradient of out = silu(gate) * up, with s = 1 / (1 + exp(-gate)):
// d_gate += d_out * up * s * (1 + gate * (1 - s)), d_up += d_out * gate * s.
// All [N, F], read as vec4 (V = ceil(N F / 4)). Dispatch: one vec4 a lane, ceil(V / 64) workgroups.
// The last vec4 may reach into a buffer's padding: what is computed there is never read.
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
  let s = 1.0 / (1.0 + exp(min(-x, vec4(87.0))));
  d_gate[i] += d * up[i] * s * (1.0 + x * (1.0 - s));
  d_up[i] += d * x * s;
}
