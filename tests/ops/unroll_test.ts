import assert from "node:assert/strict";
import { unroll, unrolledKernel } from "../../ops/unroll.ts";

const kernel = `
const A: u32 = 2u;
const B: u32 = A * 1;
@compute @workgroup_size(1)
fn main() {
  var x: array<u32, 4>;
  for (var i = 0u; i < A; i++) { // unroll
    for (var j = 0u; j < A * B; j++) { // unroll
      x[j] += i; // not the i of min
    }
  }
}
`;

Deno.test("unroll: nested loops over products of consts are written out", () => {
  const text = unroll("kernels/x.wgsl", kernel);
  assert.doesNotMatch(text, /for/);
  assert.equal([...text.matchAll(/x\[\du\] \+= 0u/g)].length, 4);
  assert.equal([...text.matchAll(/x\[3u\] \+= \du/g)].length, 2);
  assert.match(text, /of min/);
});

Deno.test("unroll: constants set the bounds, the same ones give the same kernel", () => {
  const make = unrolledKernel("kernels/x.wgsl", kernel);
  const made = make({ A: 1 });
  assert.equal([...made.source.matchAll(/x\[0u\] \+= 0u/g)].length, 1);
  assert.equal(made, make({ A: 1 }));
  assert.notEqual(made.path, make({ A: 2 }).path);
});

Deno.test("unroll: a loop of another form or an unknown bound is refused", () => {
  const refuse = (line: string, message: RegExp) =>
    assert.throws(() => unroll("kernels/x.wgsl", `${line}\n}`), message);
  refuse(
    "for (var i = 0u; i < n; i++) { // unroll",
    /SyntaxError: kernels\/x.wgsl: 'unroll' needs a bound of const u32 numbers, got 'n'/,
  );
  refuse(
    "for (var i = 1u; i < A; i++) { // unroll",
    /cannot unroll 'for \(var i = 1u; i < A; i\+\+\)/,
  );
});
