import assert from "node:assert/strict";
import { type TensorSpec, transpose, Weights, type WeightSource } from "../../llm/weights.ts";
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
    readBf16: () => Promise.resolve(Uint16Array.of(0x3f80, 0x4000, 0x4040, 0, 0, 0xbf80)),
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

gpuTest("Weights.load() keeps bf16 matrices as stored, or widens them to train", async (gpu) => {
  const bf16 = { ...complete, "table.weight": { shape: [2, 3], dtype: "BF16" } };
  using stored = await Weights.load(gpu, specs, source(bf16));
  assert.equal(stored.get("table.weight").dtype, "bf16");
  assert.throws(() => stored.train(), /table\.weight\[2, 3\] bf16 is kept in bf16: load with pre/);
  using wide = await Weights.load(gpu, specs, source(bf16), { precision: "f32" });
  assert.equal(wide.get("table.weight").dtype, "f32");
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

const REFUSED: [string, Record<string, { shape: number[] }>, RegExp][] = [
  ["a missing tensor", plain, /^TypeError: folder: missing norm\.weight \[3\]$/],
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

Deno.test("transpose() turns rows into columns", () => {
  assert.deepEqual([...transpose(Float32Array.of(1, 2, 3, 4, 5, 6), 2, 3)], [1, 4, 2, 5, 3, 6]);
});
