// out = silu(gate) * up with silu(x) = x / (1 + exp(-x)), element by element.
// gate, up, out [N, F], read as vec4 (V = ceil(N F / 4)). Dispatch: one vec4 a lane, ceil(V / 64) workgroups.
// The last vec4 may reach into a buffer's padding: what is computed there is never read.
// Shazeer, GLU Variants Improve Transformer, 2020 (arXiv 2002.05202).
struct Params { vectors: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> up: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.vectors) { return; }
  let x = gate[i];
  // exp above 88 is infinite, and undefined by WGSL: at 87 the quotient is as good as zero.
  out[i] = x / (1.0 + exp(min(-x, vec4(87.0)))) * up[i];
}
