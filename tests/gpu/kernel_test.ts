/** Kernels: the names that are read from WGSL, the form of the house, constants, parameters. */
import assert from "node:assert/strict";
import { type Kernel, kernel, packParams, shaderError, specialise } from "../../gpu/kernel.ts";

const MAIN = "@compute @workgroup_size(64) fn main() {}";

function parse(source: string): Kernel {
  return kernel("kernels/x.wgsl", source);
}

function refuses(source: string, message: string): void {
  assert.throws(() => parse(source), { name: "SyntaxError", message });
}

Deno.test("kernel: reads tensors, parameters and constants", () => {
  const k = parse(`
    // var<storage> in a comment, @compute fn main( too: not read
    struct Params { rows: u32, shift: i32, // a comment, with a comma
      eps: f32 }
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
    @group(0) @binding(3) var <storage,read_write> out : array< Bits >;
    @group(0) @binding(2)
    var<storage> counts: array<atomic<u32>>;
    alias Bits = u32;
    override LANES: u32 = 8;
    override CAUSAL: bool = true;
const ROWS: u32 = 8u;
    var<workgroup> tile: array<f32, 64>;
    @compute @workgroup_size(64)
    fn main(@builtin(local_invocation_index) lane: u32) { let s = subgroupAdd(1u); }`);
  assert.deepEqual(k.bindings, [
    { name: "x", index: 1, writable: false, element: "vec4<f32>" },
    { name: "out", index: 3, writable: true, element: "Bits" },
    { name: "counts", index: 2, writable: false, element: "atomic<u32>" },
  ]);
  assert.deepEqual(k.params, [
    { name: "rows", type: "u32" },
    { name: "shift", type: "i32" },
    { name: "eps", type: "f32" },
  ]);
  assert.deepEqual([...k.overrides], ["LANES", "CAUSAL"]);
  assert.deepEqual([...k.consts], ["ROWS"]);
  assert.equal(k.usesSubgroups, true);
  assert.equal(parse(MAIN).usesSubgroups, false);
});

Deno.test("kernel: refuses what is not of the house's form", () => {
  const noEntry = "kernels/x.wgsl: no entry point: a kernel needs '@compute ... fn main('";
  refuses("@compute @workgroup_size(1) fn run() {}", noEntry);
  refuses("fn main() {}", noEntry);
  refuses("// @compute fn main(", noEntry);
  refuses(
    `@group(1) @binding(0) var<storage, read> x: array<f32>; ${MAIN}`,
    "kernels/x.wgsl: 'x' is in group 1; only group 0 is used",
  );
  for (const type of ["Rows", "array<f32, 8>", "array<vec4<f32>, 8>"]) {
    refuses(
      `@group(0) @binding(1) var<storage, read> x: ${type}; ${MAIN}`,
      `kernels/x.wgsl: 'x' must be an array<...> without a length, got ${type}`,
    );
  }
  for (const field of ["size: vec2<u32>", "flag: bool", "@align(16) a: u32", "rows"]) {
    refuses(
      `struct Params { ${field} } ${MAIN}`,
      `kernels/x.wgsl: Params field '${field}' must be 'name: u32', i32 or f32`,
    );
  }
  for (const at of ["@binding(1) var<uniform> params", "@binding(0) var<uniform> sizes"]) {
    refuses(
      `struct Params { rows: u32 } @group(0) ${at}: Params; ${MAIN}`,
      "kernels/x.wgsl: the uniform must be '@binding(0) ... params: Params'",
    );
  }
  for (const at of ["@binding(1) @group(0)", "@group(0) @id(3) @binding(1)", ""]) {
    refuses(
      `${at} var<storage, read> x: array<f32>; ${MAIN}`,
      "kernels/x.wgsl: a variable is not of the form " +
        "'@group(0) @binding(1) var<storage, read> x: array<f32>;'",
    );
  }
  const fields = Array.from({ length: 33 }, (_, i) => `p${i}: u32`).join(", ");
  refuses(
    `struct Params { ${fields} } ${MAIN}`,
    "kernels/x.wgsl: Params has 33 fields, at most 32",
  );
});

Deno.test("specialise: rewrites const lines by type, leaves overrides to the pipeline", () => {
  const k = parse(`override LANES: u32 = 8;
override CAUSAL: bool = true;
const ROWS: u32 = 8u;
const COLUMNS = 4u;
const SCALE: f32 = 0.5; // not ROWS
const MASKED: bool = false;
const STEP: i32 = 1;
${MAIN}`);
  const { source, overrides } = specialise(k, {
    LANES: 32,
    CAUSAL: false,
    ROWS: 16,
    COLUMNS: 2,
    SCALE: 2.25,
    MASKED: true,
    STEP: -3,
  });
  assert.deepEqual(overrides, { LANES: 32, CAUSAL: 0 });
  assert.deepEqual(source.split("\n").slice(0, 7), [
    "override LANES: u32 = 8;",
    "override CAUSAL: bool = true;",
    "const ROWS: u32 = 16u;",
    "const COLUMNS = 2u;",
    "const SCALE: f32 = 2.25; // not ROWS",
    "const MASKED: bool = true;",
    "const STEP: i32 = -3;",
  ]);
  assert.deepEqual(specialise(k, {}), { source: k.source, overrides: {} });
  assert.throws(() => specialise(k, { ROW: 8 }), {
    name: "TypeError",
    message: "kernels/x.wgsl: no constant 'ROW' (it declares: LANES, CAUSAL, ROWS, COLUMNS, " +
      "SCALE, MASKED, STEP)",
  });
  assert.throws(() => specialise(parse(MAIN), { ROWS: 8 }), /it declares: none\)$/);
  assert.throws(() => specialise(k, { SCALE: NaN }), {
    name: "RangeError",
    message: "kernels/x.wgsl: constant 'SCALE' must be finite, got NaN",
  });
});

Deno.test("packParams: four bytes a field, whole vectors of four", () => {
  const k = parse(`struct Params { a: u32, b: i32, c: f32, d: u32, e: f32 } ${MAIN}`);
  const words = packParams(k, { e: -0.5, d: 0xffffffff, c: 1.5, b: -2, a: 7 });
  assert.equal(words.length, 8);
  assert.deepEqual([...words.slice(0, 2)], [7, 0xfffffffe]);
  assert.equal(words[3], 0xffffffff);
  const floats = new Float32Array(words.buffer);
  assert.deepEqual([floats[2], floats[4]], [1.5, -0.5]);
  assert.equal(packParams(parse(MAIN), {}).length, 4);
  const infinite = packParams(parse(`struct Params { top: f32 } ${MAIN}`), { top: -Infinity });
  assert.equal(new Float32Array(infinite.buffer)[0], -Infinity);
});

Deno.test("packParams: refuses missing, unknown and unfit numbers", () => {
  const k = parse(`struct Params { rows: u32, shift: i32, eps: f32 } ${MAIN}`);
  const good = { rows: 1, shift: 1, eps: 1 };
  assert.throws(() => packParams(k, { rows: 1, eps: 1 }), {
    name: "TypeError",
    message: "kernels/x.wgsl: parameter 'shift' is missing",
  });
  assert.throws(() => packParams(k, { ...good, cols: 1 }), {
    name: "TypeError",
    message: "kernels/x.wgsl: no parameter 'cols' (it declares: rows, shift, eps)",
  });
  assert.throws(() => packParams(parse(MAIN), { cols: 1 }), /it declares: none\)$/);
  const unfit = [
    ["rows", "u32", [-1, 1.5, NaN, Infinity, 2 ** 32]],
    ["shift", "i32", [2 ** 31, -(2 ** 31) - 1, 0.5, NaN, -Infinity]],
    ["eps", "f32", [NaN, 1e39, -1e39]],
  ] as const;
  for (const [name, type, values] of unfit) {
    for (const value of values) {
      assert.throws(() => packParams(k, { ...good, [name]: value }), {
        name: "RangeError",
        message: `kernels/x.wgsl: parameter '${name}' must be ${type}, got ${value}`,
      });
    }
  }
});

Deno.test("shaderError: one line with the position in the kernel", () => {
  const parsing = `
Shader 'kernels/x.wgsl' parsing error: the type of \`y\` is expected to be \`f32\`, but got \`u32\`
  ┌─ wgsl:5:46
  │
5 │ fn main() { let y: f32 = 1u ^ 2u; out[0] = y; }
  │                 ^ definition of \`y\`

`;
  assert.equal(
    shaderError("kernels/x.wgsl", parsing),
    "kernels/x.wgsl:5:46: the type of `y` is expected to be `f32`, but got `u32`; " +
      "definition of `y`",
  );
  assert.equal(shaderError("kernels/x.wgsl", "Buffer size 3 is odd"), undefined);
});
