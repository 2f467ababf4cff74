// out = logits / temperature, suppressed ids at the lowest float; peaks = the largest number of each row of out; lse =
// log sum exp(logits) of the whole row, that is at temperature 1 with nothing suppressed.
// logits [rows, stride], of which `vocab` columns count; suppressed: `num_suppressed` ids; out [rows, vocab]; peaks,
// lse [rows].
// Dispatch: one workgroup of LANES a row.
struct Params { rows: u32, vocab: u32, stride: u32, num_suppressed: u32, temperature: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> suppressed: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> peaks: array<f32>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

const LANES: u32 = 64u;
const LOWEST: f32 = -3.4028234e38;
var<workgroup> highest: array<f32, LANES>;
var<workgroup> highest_of_out: array<f32, LANES>;
var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * groups.x + group.x;
  if (row >= params.rows) { return; }
  let base = row * params.vocab;
  var peak = LOWEST;
  var sum = 0.0;
  for (var i = lane; i < params.vocab; i += LANES) {
    let logit = logits[row * params.stride + i];
    let before = peak;
    peak = max(peak, logit);
    sum = sum * exp(before - peak) + exp(logit - peak);
    // -0 becomes 0: they are equal, and filter_probabilities.wgsl compares bits.
    out[base + i] = select(logit / params.temperature, 0.0, logit == 0.0);
  }
  highest[lane] = peak;
  sums[lane] = sum;
  workgroupBarrier();
  storageBarrier(); // suppressed ids must not be overwritten by their own logits
  for (var i = lane; i < params.num_suppressed; i += LANES) {
    out[base + suppressed[i]] = LOWEST;
  }
  storageBarrier();
  var highest_out = LOWEST;
  for (var i = lane; i < params.vocab; i += LANES) {
    highest_out = max(highest_out, out[base + i]);
  }
  highest_of_out[lane] = highest_out;
  workgroupBarrier();
  if (lane > 0u) { return; }
  for (var j = 1u; j < LANES; j++) {
    peak = max(peak, highest[j]);
    highest_out = max(highest_out, highest_of_out[j]);
  }
  var total = 0.0;
  for (var j = 0u; j < LANES; j++) {
    total += sums[j] * exp(highest[j] - peak);
  }
  peaks[row] = highest_out;
  lse[row] = peak + log(total);
}
