// norm[0] = sqrt(sum of squares); coefficient[0] = min(1, max_norm / (norm + 1e-6)).
// squares: `count` sums; norm, coefficient [1]. Dispatch: 1 workgroup. The sum has a fixed shape.
// torch.nn.utils.clip_grad_norm_.
struct Params { count: u32, max_norm: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> squares: array<f32>;
@group(0) @binding(2) var<storage, read_write> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> coefficient: array<f32>;

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < params.count; i += 64u) {
    sum += squares[i];
  }
  sums[lane] = sum;
  workgroupBarrier();
  if (lane == 0u) {
    var total = 0.0;
    for (var i = 0u; i < 64u; i++) {
      total += sums[i];
    }
    norm[0] = sqrt(total);
    coefficient[0] = min(1.0, params.max_norm / (sqrt(total) + 1e-6));
  }
}
