// Where top-k and then top-p cut each row s of tempered logits, found without sorting:
//   top-k keeps s >= the k-th largest s (every tie with it, as transformers does);
//   top-p drops, from the least likely up, while the cumulative probability is <= limit = 1 - top_p; one token always
//   stays. Its edge may fall between equal s.
// A token is kept if its key (key_of: integers in the order of floats) is above edges[r], or equal to it and among the
// first ties[r] such ids; totals[r] = sum of exp(s - peaks[r]) over the kept tokens.
// s [rows, vocab]; peaks [rows], their maxima; edges, ties, totals [rows]. top_k 0 and limit < 0 switch their filter off.
// Dispatch: one workgroup of LANES a row. Up to CACHED numbers a lane stay in registers; the rest is read every time.
// Top-p: Holtzman et al., The Curious Case of Neural Text Degeneration, 2020; transformers' TopPLogitsWarper.
struct Params { rows: u32, vocab: u32, top_k: u32, limit: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read> peaks: array<f32>;
@group(0) @binding(3) var<storage, read_write> edges: array<u32>;
@group(0) @binding(4) var<storage, read_write> ties: array<f32>;
@group(0) @binding(5) var<storage, read_write> totals: array<f32>;

const LANES: u32 = 64u; // at least 8
const CACHED: u32 = 1u;
var<private> cached: array<f32, CACHED>;
var<workgroup> slots: array<f32, 8u * LANES>; // 8 sums, each a column of one number a lane
var<workgroup> reduced: array<f32, 8>;

// Below each of four keys: how many tokens there are (exact up to 2^24) and the sum of their exp(s - peak).
struct Below { count: vec4<f32>, mass: vec4<f32> }
// The largest key that keeps enough is in [low, high); tokens and mass that are kept so far and below its ends.
struct Edge { low: u32, high: u32, count_low: f32, count_high: f32, mass_low: f32 }

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * groups.x + group.x;
  if (row >= params.rows) { return; }
  let base = row * params.vocab;
  let peak = peaks[row];
  for (var i = 0u; i < CACHED; i++) { // unroll
    cached[i] = s[base + min(i * LANES + lane, params.vocab - 1u)];
  }
  let whole = key_of(peak) + 1u;
  let use_top_k = params.top_k > 0u && params.top_k < params.vocab;
  var edge = Edge(0u, whole, 0.0, 0.0, 0.0);
  var num_dropped = 0.0; // of the tokens at the edge
  var total = 0.0;
  var first_key = 0u;
  // Stage 0 is top-k, 1 is top-p, 2 only adds up what they left.
  for (var stage = select(1u, 0u, use_top_k); stage < 3u; stage++) {
    let searches = stage == 0u || (stage == 1u && params.limit >= 0.0);
    if (stage < 2u) { edge = Edge(first_key, whole, 0.0, 0.0, 0.0); }
    var keys = vec4<u32>(whole); // the first turn counts everything
    var allowed = 0.0; // tokens or mass below the edge
    for (var turn = 0u; true; turn++) {
      let found = below(base, lane, peak, first_key, keys);
      if (turn == 0u) {
        total += found.mass.x;
        if (stage < 2u) { edge.count_high = found.count.x; }
        allowed = select(params.limit * found.mass.x, f32(params.vocab - params.top_k), stage == 0u);
      } else {
        let fits = select(found.mass, found.count, vec4<bool>(stage == 0u)) <= vec4<f32>(allowed);
        edge = narrowed(edge, keys, found, fits & (keys < vec4<u32>(edge.high)));
      }
      // One token left between the ends: both ends mean the same.
      let done = edge.high - edge.low <= 1u || edge.count_high - edge.count_low <= 1.0;
      if (!searches || done) { break; }
      let step = max(1u, (edge.high - edge.low) / 5u);
      keys = min(edge.low + step * vec4<u32>(1u, 2u, 3u, 4u), vec4<u32>(edge.high));
    }
    if (!searches) { break; }
    first_key = edge.low;
    total = 0.0;
    let num_ties = edge.count_high - edge.count_low;
    // A single token at the edge may have another key than `low`, and is kept anyway.
    if (stage == 0u || num_ties <= 1.0) { continue; }
    let share = exp(value_of(edge.low) - peak);
    num_dropped = clamp(floor((allowed - edge.mass_low) / share), 0.0, num_ties - 1.0);
    if (num_dropped > 0.0) {
      first_key += 1u;
      total = (num_ties - num_dropped) * share;
    }
  }
  if (lane == 0u) {
    edges[row] = edge.low;
    ties[row] = edge.count_high - edge.count_low - num_dropped;
    totals[row] = total;
  }
}

fn narrowed(edge: Edge, keys: vec4<u32>, found: Below, fits: vec4<bool>) -> Edge {
  var next = edge;
  let n = u32(dot(select(vec4<f32>(0.0), vec4<f32>(1.0), fits), vec4<f32>(1.0)));
  if (n > 0u) {
    next.low = keys[n - 1u];
    next.count_low = found.count[n - 1u];
    next.mass_low = found.mass[n - 1u];
  }
  if (n < 4u) {
    next.high = keys[n];
    next.count_high = found.count[n];
  }
  return next;
}

// Among the tokens whose key is at least first_key.
fn below(base: u32, lane: u32, peak: f32, first_key: u32, keys: vec4<u32>) -> Below {
  var sums = Below(vec4<f32>(0.0), vec4<f32>(0.0));
  for (var i = 0u; i < CACHED; i++) { // unroll
    sums = with_token(sums, cached[i], peak, first_key, select(vec4<u32>(0u), keys, i * LANES + lane < params.vocab));
  }
  for (var i = CACHED * LANES + lane; i < params.vocab; i += LANES) {
    sums = with_token(sums, s[base + i], peak, first_key, keys);
  }
  for (var j = 0u; j < 4u; j++) {
    slots[j * LANES + lane] = sums.count[j];
    slots[(j + 4u) * LANES + lane] = sums.mass[j];
  }
  workgroupBarrier();
  if (lane < 8u) {
    var sum = 0.0;
    for (var j = 0u; j < LANES; j++) {
      sum += slots[lane * LANES + j];
    }
    reduced[lane] = sum;
  }
  let r = workgroupUniformLoad(&reduced);
  return Below(vec4<f32>(r[0], r[1], r[2], r[3]), vec4<f32>(r[4], r[5], r[6], r[7]));
}

fn with_token(sums: Below, x: f32, peak: f32, first_key: u32, keys: vec4<u32>) -> Below {
  let key = key_of(x);
  let inside = (vec4<u32>(key) < keys) & vec4<bool>(key >= first_key);
  let ones = select(vec4<f32>(0.0), vec4<f32>(1.0), inside);
  return Below(sums.count + ones, sums.mass + ones * exp(x - peak));
}

fn key_of(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn value_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}
