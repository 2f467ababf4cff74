// tokens[r] = the smallest id whose cumulative probability, ids ascending, exceeds uniform[r]; the last id that has any
// probability where rounding leaves none. log_prob[r] = log of its probability; full_log_prob[r] = its logit - lse[r].
// probabilities [rows, vocab]; logits [rows, stride]; uniform, lse, tokens, log_prob, full_log_prob [rows].
// Dispatch: one workgroup of LANES a row. Every lane owns a range of ids; the lane whose range is crossed walks it.
struct Params { rows: u32, vocab: u32, stride: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> probabilities: array<f32>;
@group(0) @binding(2) var<storage, read> uniform_numbers: array<f32>;
@group(0) @binding(3) var<storage, read> logits: array<f32>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(6) var<storage, read_write> log_prob: array<f32>;
@group(0) @binding(7) var<storage, read_write> full_log_prob: array<f32>;

const LANES: u32 = 64u;
var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * groups.x + group.x;
  if (row >= params.rows) { return; }
  let length = (params.vocab + LANES - 1u) / LANES;
  let begin = row * params.vocab + min(params.vocab, lane * length);
  let end = row * params.vocab + min(params.vocab, (lane + 1u) * length);
  var sum = 0.0;
  for (var i = begin; i < end; i++) {
    sum += probabilities[i];
  }
  sums[lane] = sum;
  workgroupBarrier();
  var before = 0.0;
  var total = 0.0;
  for (var j = 0u; j < LANES; j++) {
    if (j == lane) { before = total; }
    total += sums[j];
  }
  let u = uniform_numbers[row];
  let goal = min(u, total); // u >= total: the first lane that reaches the total
  let reached = before + sum;
  let mine = before < total && before <= goal && select(reached > goal, reached >= total, u >= total);
  if (!mine) { return; }
  var chosen = begin;
  var running = 0.0;
  for (var i = begin; i < end && running <= u - before; i++) {
    let p = probabilities[i];
    running += p;
    if (p > 0.0) { chosen = i; }
  }
  let id = chosen - row * params.vocab;
  tokens[row] = id;
  log_prob[row] = log(probabilities[chosen]);
  full_log_prob[row] = logits[row * params.stride + id] - lse[row];
}
