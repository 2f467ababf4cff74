// In place of tempered logits s, the probabilities of the tokens that a filter keeps, 0 for the others. A token is kept
// if its key is above edges[r], or equal to it and among the first ties[r] such ids; its probability is
// exp(s - peaks[r]) / totals[r].
// s [rows, vocab]; peaks, edges, ties, totals [rows]: see filter_edge.wgsl. Dispatch: one workgroup of LANES a row; every
// lane owns a range of ids, so that ids at the edge are counted in order.
struct Params { rows: u32, vocab: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> peaks: array<f32>;
@group(0) @binding(2) var<storage, read> edges: array<u32>;
@group(0) @binding(3) var<storage, read> ties: array<f32>;
@group(0) @binding(4) var<storage, read> totals: array<f32>;
@group(0) @binding(5) var<storage, read_write> s: array<f32>;

const LANES: u32 = 64u;
var<workgroup> counts: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * groups.x + group.x;
  if (row >= params.rows) { return; }
  let base = row * params.vocab;
  let length = (params.vocab + LANES - 1u) / LANES;
  let begin = base + min(params.vocab, lane * length);
  let end = base + min(params.vocab, (lane + 1u) * length);
  let edge = edges[row];
  var count = 0.0;
  for (var i = begin; i < end; i++) {
    count += select(0.0, 1.0, key_of(s[i]) == edge);
  }
  counts[lane] = count;
  workgroupBarrier();
  var left = ties[row]; // to keep from this lane's first on
  for (var j = 0u; j < lane; j++) {
    left -= counts[j];
  }
  let peak = peaks[row];
  let total = totals[row];
  for (var i = begin; i < end; i++) {
    let x = s[i];
    let key = key_of(x);
    let keep = key > edge || (key == edge && left > 0.0);
    left -= select(0.0, 1.0, key == edge);
    s[i] = select(0.0, exp(x - peak) / total, keep);
  }
}

// Floats in their order as integers in theirs.
fn key_of(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
