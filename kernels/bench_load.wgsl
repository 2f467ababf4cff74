// The load loop: every lane adds up 8 vec4 a round, neighbouring lanes neighbouring vectors, around an array.
// data [mask + 1] vec4, a power of two of them; out [lanes]. Dispatch: 64 lanes a workgroup; a workgroup reads
// 512 rounds vectors in order, the next one those after them.
struct Params { rounds: u32, mask: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> data: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let number = group.y * groups.x + group.x;
  let m = params.mask;
  var at = number * params.rounds * 512u + lane;
  var sum = vec4(0.0);
  for (var round = 0u; round < params.rounds; round++) { // 8 loads by hand: a loop costs a counter
    sum += data[at & m] + data[(at + 64u) & m] + data[(at + 128u) & m] + data[(at + 192u) & m] +
      data[(at + 256u) & m] + data[(at + 320u) & m] + data[(at + 384u) & m] + data[(at + 448u) & m];
    at += 512u;
  }
  let i = number * 64u + lane;
  if (i >= arrayLength(&out)) { return; }
  out[i] = sum.x + sum.y + sum.z + sum.w;
}
