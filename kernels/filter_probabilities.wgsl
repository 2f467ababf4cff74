// In place of the logits, the probabilities of the tokens that top-k and then top-p keep; 0 for the others. Per row s:
//   top-k keeps s >= the k-th largest s (every tie with it, as transformers does);
//   top-p drops, from the least likely up, while the cumulative probability is <= limit = 1 - top_p; of equal s at the
//   edge the lowest ids are kept; one token always is.
// s [rows, vocab]: tempered logits; peaks [rows]: their maxima. top_k 0 and limit < 0 switch
// their filter off. Dispatch: one workgroup of LANES a row.
// Nothing is sorted: both edges are found by search over the order-preserving integers of the floats, four candidates at
// a time. Top-p: Holtzman et al., The Curious Case of Neural Text Degeneration, 2020; transformers' TopPLogitsWarper.
struct Params { rows: u32, vocab: u32, top_k: u32, limit: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> peaks: array<f32>;
@group(0) @binding(2) var<storage, read_write> s: array<f32>;

const LANES: u32 = 64u; // at least 8
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
  let whole = key_of(peak) + 1u;
  let use_top_k = params.top_k > 0u && params.top_k < params.vocab;
  var edge = Edge(0u, whole, 0.0, 0.0, 0.0);
  var first_key = 0u;
  var num_dropped = 0.0; // of the tokens at the edge
  var total = 0.0;
  // Stage 0 is top-k, 1 is top-p, 2 only adds up what they left.
  for (var stage = select(1u, 0u, use_top_k); stage < 3u; stage++) {
    let kept = below(base, lane, peak, first_key, vec4<u32>(whole));
    total += kept.mass.x;
    if (stage == 2u) { break; }
    edge = Edge(first_key, whole, 0.0, kept.count.x, 0.0);
    if (stage == 1u && params.limit < 0.0) { break; }
    let by_count = stage == 0u;
    let allowed = select(params.limit * kept.mass.x, f32(params.vocab - params.top_k), by_count);
    edge = search(base, lane, peak, edge, allowed, by_count);
    first_key = edge.low;
    total = 0.0;
    let ties = edge.count_high - edge.count_low;
    // A single token at the edge may have another key than `low`, and is kept anyway.
    if (by_count || ties <= 1.0) { continue; }
    let share = exp(value_of(edge.low) - peak);
    num_dropped = clamp(floor((allowed - edge.mass_low) / share), 0.0, ties - 1.0);
    if (num_dropped > 0.0) {
      first_key += 1u;
      total = (ties - num_dropped) * share;
    }
  }
  write_row(base, lane, peak, edge, num_dropped, total);
}

// Narrows [low, high) around the largest key such that what is below it stays within `allowed` tokens or mass.
fn search(
  base: u32, lane: u32, peak: f32, first: Edge, allowed: f32, by_count: bool,
) -> Edge {
  var edge = first;
  // One token left between the ends: both ends mean the same.
  while (edge.high - edge.low > 1u && edge.count_high - edge.count_low > 1.0) {
    let step = max(1u, (edge.high - edge.low) / 5u);
    let keys = min(edge.low + step * vec4<u32>(1u, 2u, 3u, 4u), vec4<u32>(edge.high));
    let found = below(base, lane, peak, first.low, keys);
    let measure = select(found.mass, found.count, vec4<bool>(by_count));
    let fits = (measure <= vec4<f32>(allowed)) & (keys < vec4<u32>(edge.high));
    let n = u32(dot(select(vec4<f32>(0.0), vec4<f32>(1.0), fits), vec4<f32>(1.0)));
    if (n > 0u) {
      edge.low = keys[n - 1u];
      edge.count_low = found.count[n - 1u];
      edge.mass_low = found.mass[n - 1u];
    }
    if (n < 4u) {
      edge.high = keys[n];
      edge.count_high = found.count[n];
    }
  }
  return edge;
}

// Among the tokens whose key is at least first_key.
fn below(base: u32, lane: u32, peak: f32, first_key: u32, keys: vec4<u32>) -> Below {
  var count = vec4<f32>(0.0);
  var mass = vec4<f32>(0.0);
  for (var i = lane; i < params.vocab; i += LANES) {
    let x = s[base + i];
    let key = key_of(x);
    let inside = (vec4<u32>(key) < keys) & vec4<bool>(key >= first_key);
    count += select(vec4<f32>(0.0), vec4<f32>(1.0), inside);
    mass += select(vec4<f32>(0.0), vec4<f32>(exp(x - peak)), inside);
  }
  for (var j = 0u; j < 4u; j++) {
    slots[j * LANES + lane] = count[j];
    slots[(j + 4u) * LANES + lane] = mass[j];
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

// Every lane owns a range of ids here, so that "the lowest ids at the edge" is a sum over the lanes before it.
fn write_row(base: u32, lane: u32, peak: f32, edge: Edge, num_dropped: f32, total: f32) {
  let length = (params.vocab + LANES - 1u) / LANES;
  let begin = base + min(params.vocab, lane * length);
  let end = base + min(params.vocab, (lane + 1u) * length);
  var ties = 0.0;
  for (var i = begin; i < end; i++) {
    ties += select(0.0, 1.0, key_of(s[i]) == edge.low);
  }
  slots[lane] = ties;
  workgroupBarrier();
  var left = edge.count_high - edge.count_low - num_dropped; // ties to keep from this lane's first on
  for (var j = 0u; j < lane; j++) {
    left -= slots[j];
  }
  for (var i = begin; i < end; i++) {
    let x = s[i];
    let key = key_of(x);
    let at_edge = key == edge.low && num_dropped > 0.0;
    let keep = key >= edge.low && (!at_edge || left > 0.0);
    left -= select(0.0, 1.0, at_edge);
    s[i] = select(0.0, exp(x - peak) / total, keep);
  }
}

// Floats in their order as integers in theirs, and back.
fn key_of(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn value_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}
