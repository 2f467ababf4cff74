// Sums of squares of one gradient, 8 for every 4096 numbers: the first of two stages of the global norm.
// d_x: `size` numbers; squares gets 8 sums a workgroup from place `first` on. Dispatch: ceil(size / 4096) workgroups.
// Every sum has a fixed shape, so equal gradients give equal bits.
struct Params { size: u32, first: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let block = group.y * groups.x + group.x;
  let i = block * 1024u + lane;
  var sum = 0.0;
  if (4096u * (block + 1u) <= params.size) {
    for (var j = i; j < i + 1024u; j += 256u) {
      let a = d_x[j];
      let b = d_x[j + 64u];
      let c = d_x[j + 128u];
      let d = d_x[j + 192u];
      sum += (dot(a, a) + dot(b, b)) + (dot(c, c) + dot(d, d));
    }
  } else {
    for (var j = i; 4u * j < params.size; j += 64u) {
      // What follows the last number in its vec4 is not part of the gradient.
      let inside = 4u * j + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.size);
      let a = select(vec4<f32>(0.0), d_x[j], inside);
      sum += dot(a, a);
    }
  }
  sums[lane] = sum;
  workgroupBarrier();
  // A dispatch split over two dimensions may have more workgroups than blocks.
  if (lane < 8u && 4096u * block < params.size) {
    let at = 8u * lane;
    let low = sums[at] + sums[at + 1u] + sums[at + 2u] + sums[at + 3u];
    let high = sums[at + 4u] + sums[at + 5u] + sums[at + 6u] + sums[at + 7u];
    squares[params.first + 8u * block + lane] = low + high;
  }
}
