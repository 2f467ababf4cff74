import assert from "node:assert/strict";
import { byWidth } from "../../ops/element_width.ts";

const source = `alias Element = vec4<f32>;
@group(0) @binding(0) var<storage, read_write> x: array<Element>;
@compute @workgroup_size(64) fn main() { x[0] = Element(); }`;

Deno.test("byWidth makes a kernel over vectors and one over single numbers", () => {
  const forms = byWidth("kernels/a.wgsl", source);
  assert.equal(forms(4).source, source);
  assert.match(forms(1).source, /alias Element = f32;/);
  assert.notEqual(forms(1).path, forms(4).path);
});

Deno.test("byWidth refuses a kernel without the alias", () => {
  assert.throws(() => byWidth("kernels/a.wgsl", source.replace("vec4", "vec2")), {
    name: "SyntaxError",
    message: "kernels/a.wgsl: 'alias Element = vec4<f32>;' is missing",
  });
});
