/** Operations of a few lines, so that the tape is tested without any of the product's. */
import type { Graph } from "../../autograd/tape.ts";
import { kernel } from "../../gpu/kernel.ts";
import type { Tensor } from "../../gpu/tensor.ts";

function small(name: string, tensors: string, body: string) {
  const declared = tensors.split(" ").map((t, i) => {
    const written = t.startsWith("*");
    const access = written ? "read_write" : "read";
    return `@group(0) @binding(${i + 1}) var<storage, ${access}> ${
      written ? t.slice(1) : t
    }: array<f32>;`;
  });
  return kernel(
    `kernels/${name}.wgsl`,
    `struct Params { size: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
${declared.join("\n")}
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = id.x;
  if (i < params.size) { ${body} }
}`,
  );
}

const mulForward = small("mul_forward", "a b *out", "out[i] = params.scale * a[i] * b[i];");
const squareForward = small("square_forward", "a *out", "out[i] = params.scale * a[i] * a[i];");
const mulBackward = small(
  "mul_backward",
  "d_out b *d_a",
  "d_a[i] += params.scale * d_out[i] * b[i];",
);
const addForward = small("add_forward", "a b *out", "out[i] = a[i] + params.scale * b[i];");
const addBackward = small("add_backward", "d_out *d_a", "d_a[i] += params.scale * d_out[i];");
const splitForward = small(
  "split_forward",
  "a *low *high",
  "low[i] = 2.0 * a[i]; high[i] = a[i] * a[i];",
);
const splitBackward = small(
  "split_backward",
  "d_low d_high a *d_a",
  "d_a[i] += 2.0 * d_low[i] + 2.0 * a[i] * d_high[i];",
);

const writeForward = small(
  "write_forward",
  "x *cache",
  "cache[u32(params.scale) * params.size + i] = x[i];",
);
const writeBackward = small(
  "write_backward",
  "d_cache *d_x",
  "d_x[i] += d_cache[u32(params.scale) * params.size + i];",
);
const readForward = small(
  "read_forward",
  "cache *out",
  "for (var r = 0u; r < u32(params.scale); r++) { out[i] += f32(r + 1u) * cache[r * params.size + i]; }",
);
const readBackward = small(
  "read_backward",
  "d_out *d_cache",
  "for (var r = 0u; r < u32(params.scale); r++) { d_cache[r * params.size + i] += f32(r + 1u) * d_out[i]; }",
);

function params(x: Tensor, scale: number) {
  return [{ size: x.size, scale }, Math.ceil(x.size / 64)] as const;
}

/** scale * a * b, element by element; `a` and `b` may be one tensor. */
export function mul(g: Graph, a: Tensor, b: Tensor, scale = 1): Tensor {
  const out = g.empty(a.shape);
  if (a === b) g.run(squareForward, { a, out }, ...params(a, scale));
  else g.run(mulForward, { a, b, out }, ...params(a, scale));
  return g.record(out, [a, b], (d_out) => {
    for (const [x, other] of [[a, b], [b, a]]) {
      if (g.needsGrad(x)) {
        g.run(mulBackward, { d_out, b: other, d_a: g.grad(x) }, ...params(a, scale));
      }
    }
  });
}

/** a + scale * b, element by element. */
export function add(g: Graph, a: Tensor, b: Tensor, scale = 1): Tensor {
  const out = g.empty(a.shape);
  g.run(addForward, { a, b, out }, ...params(a, scale));
  return g.record(out, [a, b], (d_out) => {
    if (g.needsGrad(a)) g.run(addBackward, { d_out, d_a: g.grad(a) }, ...params(a, 1));
    if (g.needsGrad(b)) g.run(addBackward, { d_out, d_a: g.grad(b) }, ...params(a, scale));
  });
}

/** Two outputs: 2 a and a^2. */
export function split(g: Graph, a: Tensor): readonly [Tensor, Tensor] {
  const [low, high] = [g.empty(a.shape), g.empty(a.shape)];
  g.run(splitForward, { a, low, high }, ...params(a, 0));
  return g.record([low, high] as const, [a], (d_low, d_high) => {
    g.run(splitBackward, { d_low, d_high, a, d_a: g.grad(a) }, ...params(a, 0));
  });
}

/** Writes x as row `row` of an append-only cache. */
export function write(g: Graph, cache: Tensor, x: Tensor, row: number): void {
  g.run(writeForward, { x, cache }, ...params(x, row));
  g.recordWrite(cache, [x], (d_cache) => {
    g.run(writeBackward, { d_cache, d_x: g.grad(x) }, ...params(x, row));
  });
}

/** The sum of the cache's first rows, the r-th times r + 1. */
export function read(g: Graph, cache: Tensor, rows: number): Tensor {
  const out = g.zeros([cache.shape[1]]);
  g.run(readForward, { cache, out }, ...params(out, rows));
  return g.record(out, [cache], (d_out) => {
    g.run(readBackward, { d_out, d_cache: g.grad(cache) }, ...params(out, rows));
  });
}
