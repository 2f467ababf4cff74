// In place of the logits, the gradient of d_out[r] * log_prob[r]: d_out[r] * (one-hot(label) - exp(logit - lse)); padding
// columns become 0.
// logits [rows, stride], stride a multiple of 4, of which `vocab` columns count; labels, lse, d_out [M], of which the rows
// from `first` on are meant. Dispatch: 8 rows and 512 columns a workgroup, [ceil(stride / 512), ceil(rows / 8)].
struct Params { rows: u32, vocab: u32, stride: u32, first: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> d_out: array<f32>;
@group(0) @binding(4) var<storage, read_write> logits: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * 8u + lane / 8u;
  if (row >= params.rows) { return; }
  let label = labels[params.first + row];
  let shift = lse[params.first + row];
  let d = d_out[params.first + row];
  let quads = params.stride / 4u;
  let end = min(quads, 128u * (group.x + 1u));
  for (var i = 128u * group.x + lane % 8u; i < end; i += 8u) {
    let at = row * quads + i;
    let id = 4u * i + vec4<u32>(0u, 1u, 2u, 3u);
    let one_hot = select(vec4<f32>(0.0), vec4<f32>(1.0), id == vec4<u32>(label));
    let gradient = d * (one_hot - exp(logits[at] - shift));
    // Padding may hold anything; its gradient must be 0 because the products that follow read it.
    logits[at] = select(vec4<f32>(0.0), gradient, id < vec4<u32>(params.vocab));
  }
}
