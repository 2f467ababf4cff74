// tokens[r] = the id of the largest logit that is not suppressed, the lowest id of equal ones; log_prob[r] = 0, the log of
// its certain choice; full_log_prob[r] = its logit - log sum exp(logits) of the whole row.
// logits [rows, stride], of which `vocab` columns count; suppressed: `num_suppressed` ids; tokens, log_prob,
// full_log_prob [rows]. Dispatch: one workgroup of LANES a row.
struct Params { rows: u32, vocab: u32, stride: u32, num_suppressed: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> suppressed: array<u32>;
@group(0) @binding(3) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(4) var<storage, read_write> log_prob: array<f32>;
@group(0) @binding(5) var<storage, read_write> full_log_prob: array<f32>;

const LANES: u32 = 64u;
const LOWEST: f32 = -3.4028234e38;
const NONE: u32 = 0xffffffffu;
// What one lane found: its largest logit of all and the sum of exp(logit - that), its best allowed logit and id.
struct Found { peak: f32, sum: f32, best: f32, id: u32 }
var<workgroup> found: array<Found, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * groups.x + group.x;
  if (row >= params.rows) { return; }
  var mine = Found(LOWEST, 0.0, LOWEST, NONE);
  for (var i = lane; i < params.vocab; i += LANES) {
    let logit = logits[row * params.stride + i];
    let peak = max(mine.peak, logit);
    mine.sum = mine.sum * exp(mine.peak - peak) + exp(logit - peak);
    mine.peak = peak;
    if ((mine.id == NONE || logit > mine.best) && !is_suppressed(i)) {
      mine.best = logit;
      mine.id = i;
    }
  }
  found[lane] = mine;
  workgroupBarrier();
  if (lane > 0u) { return; }
  for (var j = 1u; j < LANES; j++) {
    let other = found[j];
    let peak = max(mine.peak, other.peak);
    mine.sum = mine.sum * exp(mine.peak - peak) + other.sum * exp(other.peak - peak);
    mine.peak = peak;
    let better = other.best > mine.best || (other.best == mine.best && other.id < mine.id);
    if (other.id != NONE && (mine.id == NONE || better)) {
      mine.best = other.best;
      mine.id = other.id;
    }
  }
  tokens[row] = mine.id;
  log_prob[row] = 0.0;
  full_log_prob[row] = (mine.best - mine.peak) - log(mine.sum);
}

fn is_suppressed(id: u32) -> bool {
  var yes = false;
  for (var j = 0u; j < params.num_suppressed; j++) {
    yes = yes || suppressed[j] == id;
  }
  return yes;
}
