// out[m] = table[min(ids[m], last_row)], widened from bf16, or from f16 with F16, for the rows of the table that are bound.
// table [num_rows, D] of 16 bits, two to a word, low half first, D % 4 == 0; it begins at first_row; out [M, D]; W = D / 4.
// Dispatch: 8 lanes a token, ceil(M / 8) workgroups; one dispatch for each range of the table that fits a binding.
struct Params { count: u32, width: u32, first_row: u32, num_rows: u32, last_row: u32 }
const F16: bool = false;
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let m = (group.y * groups.x + group.x) * 8u + (lane >> 3u);
  if (m >= params.count) { return; }
  // An id below first_row wraps to a huge number and is left to another range, as one above it.
  let row = min(ids[m], params.last_row) - params.first_row;
  if (row >= params.num_rows) { return; }
  for (var c = lane & 7u; c < params.width; c += 8u) {
    let words = table[row * params.width + c].xxyy;
    if (F16) {
      out[m * params.width + c] = vec4(unpack2x16float(words.x), unpack2x16float(words.z));
      continue;
    }
    let bits = vec4(words.x << 16u, words.y & 0xffff0000u, words.z << 16u, words.w & 0xffff0000u);
    out[m * params.width + c] = bitcast<vec4<f32>>(bits);
  }
}
