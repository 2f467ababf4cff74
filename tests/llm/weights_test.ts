import assert from "node:assert/strict";
import { type TensorSpec, transpose, Weights, type WeightSource } from "../../llm/weights.ts";
import { isHalf } from "../../gpu/tensor.ts";
import { gpuTest } from "../check_op.ts";

const specs: TensorSpec[] = [
  { name: "table.weight", shape: [2, 3] },
  { name: "proj.weight", shape: [2, 3], conv1d: true },
  { name: "norm.weight", shape: [3] },
];

function source(
  tensors: Record<string, { shape: number[]; dtype?: string }>,
): WeightSource {
  return {
    name: "folder",
    info: (name) => tensors[name] && { dtype: "F32", ...tensors[name] },
    names: () => Object.keys(tensors),
    readFloat32: (name) =>
      Promise.resolve(
        Float32Array.from({ length: tensors[name].shape.reduce((a, b) => a * b) }, (_, i) => i),
      ),
    readHalf: (name) =>
      Promise.resolve(
        tensors[name].dtype === "F16"
          ? Float16Array.of(1, 2, 3, 0, 2 ** -24, -1)
          : Uint16Array.of(0x3f80, 0x4000, 0x4040, 0, 0, 0xbf80),
      ),
  };
}

const plain = { "table.weight": { shape: [2, 3] }, "proj.weight": { shape: [2, 3] } };
const complete = { ...plain, "norm.weight": { shape: [3] } };

gpuTest(
  "Weights.load() keeps Conv1D weights transposed and gives them back as in the file",
  async (gpu) => {
    using weights = await Weights.load(gpu, specs, source(complete));
    assert.deepEqual(weights.get("proj.weight").shape, [3, 2]);
    assert.deepEqual([...await gpu.read(weights.get("proj.weight"))], [0, 3, 1, 4, 2, 5]);
    assert.deepEqual([...await weights.read("proj.weight")], [0, 1, 2, 3, 4, 5]);
  },
);

const allOf = (dtype: string) =>
  Object.fromEntries(Object.entries(complete).map(([name, info]) => [name, { ...info, dtype }]));

gpuTest("Weights.load() keeps matrices of 16 bits, transposed or not, as stored", async (gpu) => {
  const numbers = {
    BF16: [[0x3f80, 0x4000, 0x4040, 0, 0, 0xbf80], [0x3f80, 0, 0x4000, 0, 0x4040, 0xbf80]],
    F16: [[1, 2, 3, 0, 2 ** -24, -1], [1, 0, 2, 2 ** -24, 3, -1]],
  };
  for (const [type, [plain, turned]] of Object.entries(numbers)) {
    const file = source(allOf(type));
    let bytes: readonly number[] = [];
    const beforeUpload = (byteLengths: readonly number[]) => {
      bytes = byteLengths;
      return Promise.resolve();
    };
    using weights = await Weights.load(gpu, specs, file, { beforeUpload });
    const dtype = type.toLowerCase();
    const [table, proj, norm] = weights.entries.values();
    assert.deepEqual([table.dtype, proj.dtype, norm.dtype], [dtype, dtype, "f32"]);
    assert.deepEqual(proj.shape, [3, 2]);
    assert.deepEqual([...await gpu.readback(table).data()], plain);
    assert.deepEqual([...await gpu.readback(proj).data()], turned);
    for (const name of ["table.weight", "proj.weight"]) {
      assert.deepEqual([...await weights.readStored(name)], plain);
      assert.deepEqual(weights.fileShape(name), [2, 3]);
      await assert.rejects(weights.read(name), /is not f32; use readback/);
    }
    assert.deepEqual(bytes, [12, 12, 12]);
    using reserved = Weights.reserve(gpu, specs, () => type);
    using wide = Weights.reserve(gpu, specs, () => type, "f32");
    assert.deepEqual([weights.byteLength, reserved.byteLength, wide.byteLength], [36, 36, 60]);
    for (const [name, tensor] of reserved.entries) {
      assert.deepEqual(tensor.shape, weights.get(name).shape);
      assert.equal(tensor.dtype, weights.get(name).dtype);
    }
  }
});

gpuTest("Weights.load() widens to train; what has 16 bits is not trained", async (gpu) => {
  for (const type of ["BF16", "F16"]) {
    const dtype = type.toLowerCase();
    using stored = await Weights.load(gpu, specs, source(allOf(type)));
    assert.throws(() => stored.train(), {
      name: "TypeError",
      message:
        `table.weight[2, 3] ${dtype} is kept in ${dtype}: load with precision f32 to train it`,
    });
  }
  using wide = await Weights.load(gpu, specs, source(allOf("F16")), { precision: "f32" });
  assert.ok([...wide.entries.values()].every((tensor) => !isHalf(tensor.dtype)));
  assert.equal(wide.train(["norm.weight"]).length, 1);
  assert.deepEqual([...await wide.read("norm.weight", "gradient")], [0, 0, 0]);
  await assert.rejects(wide.read("table.weight", "gradient"), /has no gradient: it is not trained/);
});

gpuTest("Weights.load() accepts prefixed names, buffers and ignored tensors", async (gpu) => {
  const prefixed = Object.fromEntries(
    Object.entries(complete).map(([name, info]) => [`transformer.${name}`, info]),
  );
  const more = {
    ...prefixed,
    "transformer.h.0.attn.bias": { shape: [1] },
    "lm_head.weight": { shape: [2, 3] },
  };
  const options = { prefix: "transformer.", ignored: ["lm_head.weight"] };
  using weights = await Weights.load(gpu, specs, source(more), options);
  assert.equal(weights.entries.size, 3);
});

const REFUSED: [string, Parameters<typeof source>[0], RegExp][] = [
  [
    "a missing tensor",
    plain,
    /^TypeError: folder: missing norm\.weight \[3\]; config\.json and weights must be of one model/,
  ],
  [
    "a matrix of integers",
    { ...complete, "table.weight": { shape: [2, 3], dtype: "I32" } },
    /^TypeError: folder: table\.weight is I32, a weight must be one of F32, F16, BF16, F64; .* quant/,
  ],
  [
    "a wrong shape",
    { ...complete, "norm.weight": { shape: [4] } },
    /norm\.weight is \[4\], config/,
  ],
  [
    "an unknown tensor",
    { ...complete, "extra.weight": { shape: [1] } },
    /unexpected extra\.weight/,
  ],
];
for (const [what, tensors, message] of REFUSED) {
  gpuTest(`Weights.load() refuses ${what} before any upload`, async (gpu) => {
    const before = gpu.pool.memory.inUse;
    await assert.rejects(Weights.load(gpu, specs, source(tensors)), message);
    assert.equal(gpu.pool.memory.inUse, before);
  });
}

gpuTest("Weights.replace() knows a Conv1D weight's shape in the file", async (gpu) => {
  using weights = await Weights.load(gpu, specs, source(allOf("BF16")));
  weights.replace("proj.weight", Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2]);
  assert.deepEqual(weights.get("proj.weight").shape, [3, 2]);
  assert.deepEqual(weights.fileShape("proj.weight"), [2, 3]);
  assert.deepEqual([...await weights.read("proj.weight")], [1, 3, 5, 2, 4, 6]);
});

Deno.test("transpose() turns rows into columns", () => {
  assert.deepEqual([...transpose(Float32Array.of(1, 2, 3, 4, 5, 6), 2, 3)], [1, 4, 2, 5, 3, 6]);
  const words = Uint16Array.of(0x7c01, 1, 0xffff, 0x8000, 0x7e00, 0xfc00); // with signalling NaN
  const turned = transpose(new Float16Array(words.buffer), 2, 3);
  assert.deepEqual(
    [...new Uint16Array(turned.buffer as ArrayBuffer)],
    [0x7c01, 0x8000, 1, 0x7e00, 0xffff, 0xfc00],
  );
  assert.deepEqual([...transpose(words.subarray(2), 2, 2)], [0xffff, 0x7e00, 0x8000, 0xfc00]);
});
