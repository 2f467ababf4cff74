/**
 * The device: dispatches, the order of commands, sizes beyond the usual, and errors, of which none may be followed
 * by a number. A test that breaks its device opens its own.
 */
import assert from "node:assert/strict";
import { Gpu } from "../../gpu/device.ts";
import { kernel } from "../../gpu/kernel.ts";
import type { Scope } from "../../gpu/pool.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { float16ToFloat32 } from "../../io/float16.ts";
import { gpuTest } from "../check_op.ts";
import { normals } from "../random.ts";

const DECLARATIONS = `struct Params { rows: u32, value: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
`;

/** A kernel over `x` and `out` with this body for one row `i`. */
function rowKernel(name: string, body: string) {
  return kernel(
    `kernels/${name}.wgsl`,
    `${DECLARATIONS}@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= params.rows) { return; }
  ${body}
}`,
  );
}

const addValue = rowKernel("add_value", "out[i] = x[i] + params.value;");
const accumulate = rowKernel("accumulate", "out[i] = out[i] * 10.0 + x[i];");

/** A device of its own for a test that breaks it, and the driver's device behind it. */
async function ownGpu() {
  let device: { destroy(): void; popErrorScope(): Promise<unknown> } | undefined;
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    const made = await request.call(this, descriptor);
    device = made;
    return made;
  };
  try {
    const gpu = await Gpu.open();
    assert.ok(device);
    return { gpu, device };
  } finally {
    GPUAdapter.prototype.requestDevice = request;
  }
}

type Broken = Awaited<ReturnType<typeof ownGpu>> & { scope: Scope; x: Tensor; out: Tensor };

/** A test with a device of its own and two tensors of three numbers. */
function ownGpuTest(name: string, fn: (broken: Broken) => Promise<void>): void {
  Deno.test({
    name,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const { gpu, device } = await ownGpu();
      using scope = gpu.scope();
      const x = scope.upload(new Float32Array([1, 2, 3]), [3], "x");
      await fn({ gpu, device, scope, x, out: scope.zeros([3], "f32", "out") });
      gpu.destroy();
    },
  });
}

/** Asserts that the device refuses everything with one and the same line. */
async function assertFailed({ gpu, x, out }: Broken, message: RegExp | string): Promise<void> {
  const expected = { name: "Error", message };
  await assert.rejects(async () => await gpu.read(out), expected);
  assert.throws(() => gpu.run(addValue, { x, out }, { rows: 3, value: 1 }, 1), expected);
  assert.throws(() => gpu.submit(), expected);
  assert.throws(() => gpu.write(x, new Float32Array(3)), expected);
  assert.throws(() => gpu.clear(x), expected);
  assert.throws(() => gpu.copy(x, out), expected);
  await assert.rejects(async () => await gpu.finish(), expected);
  await assert.rejects(async () => await gpu.readback(x).data(), expected);
}

gpuTest("device: says who computes", (gpu) => {
  assert.ok(gpu.info.description.length + gpu.info.device.length > 0);
  assert.ok(gpu.limits.maxBinding >= 128 * 2 ** 20);
  assert.equal(gpu.limits.maxWorkgroups, 65535);
  if (gpu.isSoftware) assert.equal(gpu.info.subgroupSize, 8);
});

gpuTest("run: computes, reads, and rounds no size up into the numbers", async (gpu) => {
  using scope = gpu.scope();
  for (const rows of [1, 7, 64, 257]) {
    const numbers = normals(rows, rows);
    const x = scope.upload(numbers);
    const out = scope.zeros([rows + 1]);
    gpu.run(addValue, { x, out }, { rows, value: 2 }, Math.ceil(rows / 64));
    const expected = [...numbers.map((v) => v + 2), 0];
    assert.deepEqual([...await gpu.read(out)], expected);
  }
});

gpuTest("run: refuses missing, unknown and wrong tensors and numbers", (gpu) => {
  using scope = gpu.scope();
  const x = scope.zeros([2, 3], "f32", "q");
  const [out, counts] = [scope.zeros([2, 3]), scope.zeros([4], "u32")];
  const params = { rows: 6, value: 0 };
  const at = "kernels/add_value.wgsl";
  const refuses = (call: () => void, name: string, message: string) =>
    assert.throws(call, { name, message: `${at}: ${message}` });
  const bad = (tensors: Record<string, Tensor>, message: string) =>
    refuses(() => gpu.run(addValue, tensors, params, 1), "TypeError", message);
  bad({ x }, "tensor 'out' is missing");
  bad({ x, out, y: out }, "no tensor 'y' (it declares: x, out)");
  bad({ x: counts, out }, "'x' is array<f32>, got [4] u32 of u32");
  bad({ x: scope.zeros([4], "bf16"), out }, "'x' is array<f32>, got [4] bf16 of bf16");
  bad(
    { x, out: x },
    "'out' is written and shares a buffer with 'x' q[2, 3]; copy one of them first",
  );
  const gone = scope.zeros([5], "f32", "gone");
  scope.release(gone);
  bad(
    { x: gone, out },
    "'x': the memory of gone[5] was given back; its scope has ended or it was released",
  );
  const run = (params: Record<string, number>, groups: number | [number, number, number] = 1) =>
    gpu.run(addValue, { x, out }, params, groups);
  refuses(() => run({ rows: 6 }), "TypeError", "parameter 'value' is missing");
  refuses(() => run({ ...params, rows: -1 }), "RangeError", "parameter 'rows' must be u32, got -1");
  const whole = "workgroups must be whole numbers from 0 to";
  refuses(() => run(params, [1, 65536, 1]), "RangeError", `${whole} 65535, got 65536`);
  refuses(() => run(params, [1, 1, -1]), "RangeError", `${whole} 65535, got -1`);
  refuses(() => run(params, 0.5), "RangeError", `${whole} ${65535 ** 2}, got 0.5`);
  refuses(() => run(params, 2 ** 32), "RangeError", `${whole} ${65535 ** 2}, got 4294967296`);
  refuses(
    () => gpu.run(addValue, { x, out }, params, 1, { LANES: 8 }),
    "TypeError",
    "no constant 'LANES' (it declares: none)",
  );
});

gpuTest("run: refuses a view at an odd place and what is too large to bind or to make", (gpu) => {
  using scope = gpu.scope();
  const [x, out] = [scope.zeros([300, 3], "f32", "x"), scope.zeros([300])];
  const { storageAlignment: alignment, maxBinding, maxBufferSize } = gpu.limits;
  const run = (x: Tensor) => gpu.run(addValue, { x, out }, { rows: 3, value: 1 }, 1);
  assert.throws(() => run(x.rows(1, 2)), {
    name: "RangeError",
    message: "kernels/add_value.wgsl: x is x[1, 3] at byte 12, which is not a multiple of " +
      `${alignment}`,
  });
  run(x.rows(alignment, alignment + 1));
  assert.throws(() => scope.empty([maxBufferSize], "f32", "w"), {
    name: "RangeError",
    message: `tensor w[${maxBufferSize}] needs ${4 * maxBufferSize} bytes but this adapter's ` +
      `largest buffer is ${maxBufferSize} bytes: use a smaller batch, shorter rows or a smaller model`,
  });
  if (maxBinding + 4 > 2 ** 28) return console.log("skipped: this adapter binds all that fits");
  {
    using large = gpu.scope();
    assert.throws(() => run(large.empty([maxBinding / 4 + 1], "f32", "w")), {
      name: "RangeError",
      message: `kernels/add_value.wgsl: x is w[${maxBinding / 4 + 1}] with ${maxBinding + 4} ` +
        `bytes, but this adapter binds at most ${maxBinding}: use a smaller batch or shorter rows`,
    });
  }
  gpu.pool.trim();
});

gpuTest("order: write, clear, copy and dispatch take effect as they are written", async (gpu) => {
  using scope = gpu.scope();
  const x = scope.upload(new Float32Array([1, 2, 3]));
  const [out, other] = [scope.zeros([3]), scope.zeros([3])];
  const step = () => gpu.run(accumulate, { x, out }, { rows: 3, value: 0 }, 1);
  step(); // 1 2 3
  gpu.write(x, new Float32Array([4, 5, 6])); // the dispatch before must not see it
  step(); // 14 25 36
  gpu.copy(out, other);
  gpu.clear(x);
  step(); // 140 250 360
  const middle = gpu.readback(out);
  gpu.copy(other, x);
  step(); // 1414 2525 3636
  gpu.clear(other);
  gpu.write(other, new Float32Array([7, 8, 9]));
  const last = gpu.readback(other);
  assert.deepEqual([...await gpu.read(out)], [1414, 2525, 3636]);
  assert.deepEqual([...await middle.data()], [140, 250, 360]);
  assert.deepEqual([...await last.data()], [7, 8, 9]);
});

gpuTest(
  "order: an upload never lands in a buffer that the open encoder still reads",
  async (gpu) => {
    using scope = gpu.scope();
    const out = scope.zeros([3]);
    const encoder = gpu.encoderNumber;
    for (let digit = 1; digit <= 5; digit++) {
      using short = gpu.scope();
      const x = short.upload(new Float32Array([digit, digit, digit]));
      gpu.run(accumulate, { x, out }, { rows: 3, value: 0 }, 1);
    }
    assert.equal(gpu.encoderNumber, encoder, "no upload had to submit");
    assert.deepEqual([...await gpu.read(out)], [12345, 12345, 12345]);
  },
);

gpuTest(
  "order: tensors of ended scopes are reused by later dispatches of one encoder",
  async (gpu) => {
    using scope = gpu.scope();
    const [x, out] = [scope.upload(new Float32Array([1, 2, 3])), scope.zeros([3])];
    const ids = new Set<number>();
    for (let digit = 0; digit < 4; digit++) {
      using short = gpu.scope();
      const shifted = short.empty([3]);
      ids.add(shifted.allocation.id);
      gpu.run(addValue, { x, out: shifted }, { rows: 3, value: digit }, 1);
      gpu.run(accumulate, { x: shifted, out }, { rows: 3, value: 0 }, 1);
    }
    assert.equal(ids.size, 1);
    assert.deepEqual([...await gpu.read(out)], [1234, 2345, 3456]);
  },
);

gpuTest("order: trimming the pool spares what is recorded", async (gpu) => {
  using scope = gpu.scope();
  const out = scope.zeros([3]);
  {
    using short = gpu.scope();
    const x = short.upload(new Float32Array([1, 2, 3]));
    gpu.run(addValue, { x, out }, { rows: 3, value: 1 }, 1);
  }
  gpu.pool.trim();
  assert.deepEqual([...await gpu.read(out)], [2, 3, 4]);
});

gpuTest("run: more dispatches than one submit holds", async (gpu) => {
  using scope = gpu.scope();
  const numbers = Array.from({ length: 2 }, () => scope.zeros([3]));
  const count = 4096 + 905;
  const encoder = gpu.encoderNumber;
  for (let i = 0; i < count; i++) {
    const [x, out] = [numbers[i % 2], numbers[(i + 1) % 2]];
    gpu.run(addValue, { x, out }, { rows: 3, value: i % 3 }, 1);
  }
  assert.equal(gpu.encoderNumber, encoder + 1);
  assert.equal(gpu.pendingDispatches, 905);
  let expected = 0;
  for (let i = 0; i < count; i++) expected += i % 3;
  assert.deepEqual([...await gpu.read(numbers[count % 2])], [expected, expected, expected]);
});

gpuTest("run: more than 65535 workgroups are split over two dimensions", async (gpu) => {
  using scope = gpu.scope();
  const mark = kernel(
    "kernels/mark.wgsl",
    `struct Params { rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> count: array<u32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = group.y * groups.x + group.x;
  if (i < params.rows) { count[i] = count[i] + i; }
}`,
  );
  const rows = 2 * 65535 + 11;
  const count = scope.zeros([rows], "u32");
  gpu.run(mark, { count }, { rows }, rows);
  const got = await gpu.readback(count).data();
  assert.deepEqual(got, Uint32Array.from({ length: rows }, (_, i) => i));
});

gpuTest("run: parameters beyond 16 bytes, each dispatch with its own", async (gpu) => {
  using scope = gpu.scope();
  const names = Array.from({ length: 32 }, (_, i) => `p${i}`);
  const echo = kernel(
    "kernels/echo.wgsl",
    `struct Params { ${names.map((n, i) => `${n}: ${["u32", "i32", "f32"][i % 3]}`).join(", ")} }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(1) fn main() {
  ${names.map((n, i) => `out[${i}] = f32(params.${n});`).join("\n  ")}
}`,
  );
  const wanted = [1, 2, 3].map((k) =>
    names.map((_, i) => [k * (i + 1), -k * (i + 1), k * (i + 0.25)][i % 3])
  );
  const outs = wanted.map((values) => {
    const out = scope.zeros([32]);
    gpu.run(echo, { out }, Object.fromEntries(names.map((n, i) => [n, values[i]])), 1);
    return gpu.readback(out);
  });
  for (let k = 0; k < 3; k++) assert.deepEqual([...await outs[k].data()], wanted[k]);
});

gpuTest("run: override and const values reach the kernel, each variant its own", async (gpu) => {
  using scope = gpu.scope();
  const constants = kernel(
    "kernels/constants.wgsl",
    `override A: u32 = 1;
override B: f32 = 0.5;
override C: bool = false;
const D: u32 = 4u;
const E: f32 = 0.25;
const F: bool = true;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(1) fn main() {
  var tile: array<f32, D>;
  out[0] = f32(A); out[1] = B; out[2] = select(0.0, 1.0, C);
  out[3] = f32(D) + tile[0]; out[4] = E; out[5] = select(0.0, 1.0, F);
}`,
  );
  const read = async (values: Record<string, number | boolean>) => {
    const out = scope.zeros([6]);
    gpu.run(constants, { out }, {}, 1, values);
    return [...await gpu.read(out)];
  };
  assert.deepEqual(await read({}), [1, 0.5, 0, 4, 0.25, 1]);
  const other = { A: 7, B: -2.5, C: true, D: 9, E: 3, F: false };
  assert.deepEqual(await read(other), [7, -2.5, 1, 9, 3, 0]);
  assert.deepEqual(await read({ D: 16 }), [1, 0.5, 0, 16, 0.25, 1]);
  assert.deepEqual(await read({}), [1, 0.5, 0, 4, 0.25, 1]);
});

gpuTest("run: two kernels of one path are two kernels", async (gpu) => {
  using scope = gpu.scope();
  const [x, out] = [scope.upload(new Float32Array([2])), scope.zeros([1])];
  for (const factor of [3, 5]) {
    gpu.run(rowKernel("same", `out[i] = x[i] * ${factor}.0;`), { x, out }, {
      rows: 1,
      value: 0,
    }, 1);
    assert.deepEqual([...await gpu.read(out)], [2 * factor]);
  }
});

gpuTest("bf16: travels as its 16-bit words at odd sizes, and kernels can widen it", async (gpu) => {
  using scope = gpu.scope();
  const widen = kernel(
    "kernels/widen.wgsl",
    `struct Params { size: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.size) { return; }
  out[id.x] = bitcast<f32>((x[id.x / 2u] >> (16u * (id.x % 2u))) << 16u);
}`,
  );
  for (const size of [1, 2, 7, 257]) {
    const words = Uint16Array.from({ length: size }, (_, i) => 0x3f80 + 3 * i);
    const x = scope.upload(words);
    assert.equal(x.dtype, "bf16");
    assert.deepEqual(await gpu.readback(x).data(), words);
    const out = scope.zeros([size]);
    gpu.run(widen, { x, out }, { size }, Math.ceil(size / 64));
    const expected = new Float32Array(Uint32Array.from(words, (w) => w << 16).buffer);
    assert.deepEqual(await gpu.read(out), expected);
    const copy = scope.empty([size], "bf16");
    gpu.copy(x, copy);
    assert.deepEqual(await gpu.readback(copy).data(), words);
  }
  await assert.rejects(gpu.read(scope.zeros([2], "bf16")), {
    name: "TypeError",
    message: "read: [2] bf16 is not f32; use readback",
  });
});

gpuTest(
  "f16: every number travels as it is, and unpack2x16float widens it exactly",
  async (gpu) => {
    using scope = gpu.scope();
    const widen = kernel(
      "kernels/widen.wgsl",
      `@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<vec2<f32>>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  out[id.x] = unpack2x16float(x[id.x]);
}`,
    );
    // All 65,536 codes: subnormals, which WGSL lets a device take as zeros, both zeros, infinities, NaN.
    const words = Uint16Array.from({ length: 65536 }, (_, code) => code);
    const x = scope.upload(new Float16Array(words.buffer));
    assert.equal(x.dtype, "f16");
    const back = await gpu.readback(x).data() as Float16Array<ArrayBuffer>;
    assert.deepEqual(new Uint16Array(back.buffer), words);
    const out = scope.zeros([65536]);
    gpu.run(widen, { x, out }, {}, 512);
    assert.deepEqual(await gpu.read(out), float16ToFloat32(words));
    for (const size of [1, 7, 257]) {
      const odd = Float16Array.from({ length: size }, (_, i) => i / 8 - 3);
      assert.deepEqual(await gpu.readback(scope.upload(odd)).data(), odd);
    }
    await assert.rejects(gpu.read(scope.zeros([2], "f16")), {
      name: "TypeError",
      message: "read: [2] f16 is not f32; use readback",
    });
  },
);

gpuTest("types: u32 and i32 come back as they went", async (gpu) => {
  using scope = gpu.scope();
  for (const data of [Uint32Array.of(0, 2 ** 32 - 1, 7), Int32Array.of(-1, 2 ** 31 - 1, 0)]) {
    assert.deepEqual(await gpu.readback(scope.upload(data)).data(), data);
  }
});

gpuTest("zero-size tensors go everywhere and nothing happens", async (gpu) => {
  using scope = gpu.scope();
  const x = scope.upload(new Float32Array(0), [0, 5]);
  const out = scope.zeros([5, 0]);
  gpu.clear(x);
  gpu.copy(x, out);
  gpu.write(x, new Float32Array(0));
  gpu.submit();
  const pending = gpu.pendingDispatches;
  gpu.run(addValue, { x, out }, { rows: 0, value: 1 }, 0);
  gpu.run(addValue, { x, out }, { rows: 0, value: 1 }, [4, 0, 1]);
  assert.equal(gpu.pendingDispatches, pending, "zero workgroups record nothing");
  assert.throws(() => gpu.run(addValue, { x }, { rows: 0, value: 1 }, 0), /'out' is missing/);
  gpu.run(addValue, { x, out }, { rows: 0, value: 1 }, 1); // one that has nothing to do
  assert.deepEqual(await gpu.read(out), new Float32Array(0));
  assert.deepEqual(await gpu.readback(scope.zeros([0], "bf16")).data(), new Uint16Array(0));
  const rows = scope.upload(new Float32Array(64), [64, 1]);
  gpu.run(addValue, { x: rows.rows(64, 64), out }, { rows: 0, value: 1 }, 1);
  await gpu.finish();
});

gpuTest("copy and write: refuse sizes that differ and one buffer twice", (gpu) => {
  using scope = gpu.scope();
  const [a, b] = [scope.zeros([2, 3], "f32", "a"), scope.zeros([5], "f32", "b")];
  assert.throws(() => gpu.copy(a, b), {
    name: "TypeError",
    message: "copy: a[2, 3] and b[5] differ in size",
  });
  assert.throws(() => gpu.write(a, new Float32Array(5)), {
    name: "TypeError",
    message: "write: 20 bytes do not fill a[2, 3]",
  });
  assert.throws(() => gpu.copy(a.rows(0, 1), a.rows(1, 2)), {
    name: "TypeError",
    message: "copy: a[1, 3] and a[1, 3] share a buffer; copy through another tensor",
  });
});

gpuTest("rows: clear, copy and write touch only their rows", async (gpu) => {
  using scope = gpu.scope();
  const x = scope.upload(Float32Array.from({ length: 12 }, (_, i) => i + 1), [4, 3]);
  gpu.clear(x.rows(1, 2));
  gpu.write(x.rows(3, 4), new Float32Array([-1, -2, -3]));
  const part = scope.empty([2, 3]);
  gpu.copy(x.rows(2, 4), part);
  assert.deepEqual([...await gpu.read(x)], [1, 2, 3, 0, 0, 0, 7, 8, 9, -1, -2, -3]);
  assert.deepEqual([...await gpu.read(part)], [7, 8, 9, -1, -2, -3]);
});

gpuTest(
  "readback: its numbers are those of its moment, however late and often asked",
  async (gpu) => {
    using scope = gpu.scope();
    const x = scope.upload(new Float32Array([1, 2, 3]));
    const early = gpu.readback(x);
    gpu.write(x, new Float32Array([4, 5, 6]));
    const late = gpu.readback(x);
    const [a, b] = await Promise.all([late.data(), early.data()]);
    assert.deepEqual([[...a], [...b]], [[4, 5, 6], [1, 2, 3]]);
    await Promise.all(Array.from({ length: 20 }, () => gpu.read(x))); // takes over every staging buffer
    assert.deepEqual([...await early.data()], [1, 2, 3]);
  },
);

gpuTest("run: two runs of one thing give the same bits", async (gpu) => {
  using scope = gpu.scope();
  const x = scope.upload(normals(3, 1001));
  const bits = async () => {
    const out = scope.zeros([1001]);
    gpu.run(accumulate, { x, out }, { rows: 1001, value: 0 }, 16);
    gpu.run(accumulate, { x, out }, { rows: 1001, value: 0 }, 16);
    return await gpu.read(out);
  };
  assert.deepEqual(await bits(), await bits());
});

const MISTAKES: [string, string, RegExp][] = [
  ["parse", "let y: f32 = ;", /^kernels\/parse\.wgsl:13:16: expected expression, found ";"$/],
  ["unknown", "out[i] = nothing;", /^kernels\/unknown\.wgsl:13:12: no definition in scope/],
  ["type", "out[i] = 1u + x[i];", /^kernels\/type\.wgsl:13:\d+: [^\n]+$/],
  [
    "written",
    "x[i] = 1.0;",
    /^kernels\/written\.wgsl:13:3: [^\n]*writing[^\n]*not permitted[^\n]*$/,
  ],
];
for (const [name, body, message] of MISTAKES) {
  ownGpuTest(`failure: a kernel with a mistake (${name}) says its line`, async (broken) => {
    const { gpu, x, out } = broken;
    gpu.run(rowKernel(name, body), { x, out }, { rows: 3, value: 1 }, 1);
    await assertFailed(broken, message);
  });
}

ownGpuTest("failure: a refused pipeline names the kernel and its constants", async (broken) => {
  const { gpu, out } = broken;
  const wide = kernel(
    "kernels/wide.wgsl",
    `const LANES: u32 = 8;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(LANES) fn main() { out[0] = 1.0; }`,
  );
  gpu.run(wide, { out }, {}, 1, { LANES: 4096 });
  await assertFailed(broken, /^kernels\/wide\.wgsl \{"LANES":4096\}: [^\n]*4096[^\n]*$/);
});

ownGpuTest("failure: a refused binding names the kernel and all shapes", async (broken) => {
  const { gpu, x, out } = broken;
  x.allocation.buffer.destroy(); // behind the engine's back
  gpu.run(addValue, { x, out }, { rows: 3, value: 1 }, 1);
  await assertFailed(broken, /^kernels\/add_value\.wgsl x=x\[3\] out=out\[3\]: [^\n]*destroyed$/);
});

ownGpuTest("failure: an error that arrives later still stops every number", async (broken) => {
  const { gpu, x, out } = broken;
  gpu.run(addValue, { x, out }, { rows: 3, value: 1 }, 1);
  const good = gpu.readback(out);
  gpu.run(rowKernel("later", "out[i] = y;"), { x, out }, { rows: 3, value: 1 }, 1);
  await assert.rejects(async () => await good.data(), /^Error: kernels\/later\.wgsl:13:12: /);
  await assertFailed(broken, /^kernels\/later\.wgsl:13:12: /);
});

ownGpuTest("failure: destroy() is the end", async (broken) => {
  const { gpu, x, out } = broken;
  gpu.run(addValue, { x, out }, { rows: 3, value: 1 }, 1);
  const read = gpu.readback(out);
  gpu.submit();
  gpu.destroy();
  const message = "GPU: the device was given up by destroy(); open another one";
  await assert.rejects(async () => await read.data(), { name: "Error", message });
  await assertFailed(broken, message);
  assert.throws(() => gpu.scope().empty([1 << 20]), { name: "Error", message });
});

const LOST = /^GPU: the device was lost \([a-z]+\): [^\n]*; start the run again$/;

ownGpuTest("failure: a device lost before a dispatch returns no number", async (broken) => {
  const { gpu, device, x, out } = broken;
  device.destroy(); // as the driver would, behind the engine's back
  gpu.run(addValue, { x, out }, { rows: 3, value: 1 }, 1);
  await assertFailed(broken, LOST);
});

ownGpuTest("failure: a device lost during a read returns no number", async (broken) => {
  const { gpu, device, x, out } = broken;
  gpu.run(addValue, { x, out }, { rows: 3, value: 1 }, 1);
  const read = gpu.readback(out);
  const numbers = read.data();
  device.destroy();
  await assert.rejects(numbers, { name: "Error", message: LOST });
  await assertFailed(broken, LOST);
});

ownGpuTest("failure: a device lost before finish() is not finished", async (broken) => {
  const { gpu, device, x, out } = broken;
  gpu.run(addValue, { x, out }, { rows: 3, value: 1 }, 1);
  gpu.submit();
  device.destroy();
  await assert.rejects(async () => await gpu.finish(), { name: "Error", message: LOST });
  await assertFailed(broken, LOST);
});

ownGpuTest("failure: out of memory says how much and what to do", async (broken) => {
  const { gpu, device, scope, x } = broken;
  // The driver of a test machine hands out addresses, not memory: the answer is played, the path is real.
  const pop = device.popErrorScope;
  device.popErrorScope = () => Promise.resolve(new GPUOutOfMemoryError("no memory"));
  const out = scope.empty([100_000], "f32", "h");
  device.popErrorScope = pop;
  gpu.run(addValue, { x, out }, { rows: 3, value: 1 }, 1);
  await assertFailed(
    broken,
    /^GPU: out of memory for \d+ bytes with \d+ bytes in use: use a smaller batch, shorter rows or/,
  );
});

ownGpuTest("failure: a profile on a lost device ends without numbers", async (broken) => {
  const { gpu, device, x, out } = broken;
  if (!gpu.info.features.includes("timestamp-query")) return console.log("skipped: no timestamps");
  gpu.profile.start();
  gpu.run(addValue, { x, out }, { rows: 3, value: 1 }, 1);
  device.destroy();
  try {
    gpu.submit();
  } catch (error) {
    assert.match(String(error), /lost/);
  }
  await gpu.profile.stop();
  await assertFailed(broken, LOST);
});
