// For each row of logits: lse = log sum exp; log_prob = the label's logit - lse. One online pass: every lane keeps a
// running maximum and the sum of exp(logit - maximum), merged at the end.
// logits [rows, stride], stride a multiple of 4, of which `vocab` columns count; labels, lse, log_prob [M], of which the
// rows from `first` on are meant. Dispatch: LANES lanes a row, ceil(rows * LANES / 64) workgroups.
// Milakov and Gimelshein, Online normalizer calculation for softmax, 2018.
struct Params { rows: u32, vocab: u32, stride: u32, first: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;
@group(0) @binding(4) var<storage, read_write> log_prob: array<f32>;

const LANES: u32 = 8u; // of one row: 8 or 64
const LOWEST: f32 = -3.4028234e38;
var<workgroup> peaks: array<f32, 64>;
var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * (64u / LANES) + lane / LANES;
  var peak = LOWEST;
  var sum = 0.0;
  if (row < params.rows) {
    let base = row * (params.stride / 4u);
    let end = base + params.vocab / 4u;
    var i = base + lane % LANES;
    // Four vectors at a time: one rescaling of the sum for sixteen numbers.
    for (; i + 3u * LANES < end; i += 4u * LANES) {
      let a = logits[i];
      let b = logits[i + LANES];
      let c = logits[i + 2u * LANES];
      let d = logits[i + 3u * LANES];
      let highest = max(max(a, b), max(c, d));
      let before = peak;
      peak = max(peak, max(max(highest.x, highest.y), max(highest.z, highest.w)));
      let e = exp(a - peak) + exp(b - peak) + exp(c - peak) + exp(d - peak);
      sum = sum * exp(before - peak) + (e.x + e.y + e.z + e.w);
    }
    for (; 4u * (i - base) < params.vocab; i += LANES) {
      let inside = 4u * (i - base) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.vocab);
      let a = select(vec4<f32>(LOWEST), logits[i], inside);
      let before = peak;
      peak = max(peak, max(max(a.x, a.y), max(a.z, a.w)));
      let e = exp(a - peak);
      sum = sum * exp(before - peak) + (e.x + e.y + e.z + e.w);
    }
  }
  peaks[lane] = peak;
  sums[lane] = sum;
  workgroupBarrier();
  if (lane % LANES != 0u || row >= params.rows) { return; }
  for (var i = lane + 1u; i < lane + LANES; i++) {
    peak = max(peak, peaks[i]);
  }
  var total = 0.0;
  for (var i = lane; i < lane + LANES; i++) {
    total += sums[i] * exp(peaks[i] - peak);
  }
  let label = labels[params.first + row];
  let logit = logits[row * (params.stride / 4u) + label / 4u][label % 4u];
  lse[params.first + row] = peak + log(total);
  log_prob[params.first + row] = (logit - peak) - log(total);
}
