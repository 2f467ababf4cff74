// out[0] = factor * sum over rows of weights[r] * values[r]; a row of weight 0 is not read into the sum.
// values, weights [N] (weights unused unless `weighted`); out [1]. Dispatch: 1 workgroup.
// The sum has a fixed shape (64 strided sums, then those in order), so equal inputs give equal bits.
struct Params { rows: u32, weighted: u32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var row = lane; row < params.rows; row += 64u) {
    let weight = select(1.0, weights[row], params.weighted != 0u);
    // A row that does not count may hold anything: 0 * NaN would be NaN.
    sum += select(0.0, weight * values[row], weight != 0.0);
  }
  sums[lane] = sum;
  workgroupBarrier();
  if (lane == 0u) {
    var total = 0.0;
    for (var i = 0u; i < 64u; i++) {
      total += sums[i];
    }
    out[0] = params.factor * total;
  }
}
