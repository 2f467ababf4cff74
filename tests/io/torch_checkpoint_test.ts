/**
 * Files of torch.save: one that Lightning wrote as the published code does (torch/make_lightning.py, PyTorch 2.15.0,
 * Lightning 2.6.6, OmegaConf 2.4.0), PyTorch's numbers for it, and what is refused.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { openTorchCheckpoint } from "../../io/torch_checkpoint.ts";
import { realFolder } from "../real_files.ts";
import { stateDictPickle as stateDict } from "./torch_pickle.ts";
import { zipOf } from "./zip_file.ts";

const LIGHTNING = new URL("torch/lightning.ckpt", import.meta.url).pathname;
const LAYER = "llm.base_model.model.model.layers.0.self_attn";

/** By name: type, shape, the first three numbers, and the sum of all, as torch.load gave them. */
const EXPECTED: [string, string, number[], number[], number][] = [
  [
    `${LAYER}.q_proj.lora_A.default.weight`,
    ...["F32", [2, 16], [0.9625182747840881, 0.34916824102401733, -0.9214619994163513]] as const,
    4.951513461768627,
  ],
  [
    `${LAYER}.q_proj.lora_B.default.weight`,
    ...["BF16", [16, 2], [0.2890625, 0.38671875, -0.201171875]] as const,
    4.005859375,
  ],
  [ // a transposed view: strides 1 and 2
    `${LAYER}.v_proj.lora_A.default.weight`,
    ...["F32", [2, 16], [1.0810725688934326, 1.5735383033752441, 0.9874365925788879]] as const,
    0.5923854522407055,
  ],
  [
    `${LAYER}.v_proj.lora_B.default.weight`,
    ...["F16", [8, 2], [-1.25390625, 0.98681640625, -0.49462890625]] as const,
    0.02445220947265625,
  ],
  ["extra.double", "F64", [2], [Math.fround(0.1), Math.fround(0.2)], 0.30000000447034836],
].map((row) => row as [string, string, number[], number[], number]);

Deno.test("openTorchCheckpoint(): tensors of a Lightning file, as PyTorch reads them", async () => {
  using file = await openTorchCheckpoint(LIGHTNING);
  assert.equal(file.tensors.size, EXPECTED.length + 1);
  for (const [name, dtype, shape, first, sum] of EXPECTED) {
    assert.deepEqual(file.tensors.get(name), { dtype, shape }, name);
    const numbers = await file.readFloat32(name);
    assert.deepEqual([...numbers.subarray(0, 3)], first, name);
    assert.equal(numbers.reduce((a, b) => a + b, 0), sum, name);
  }
  assert.deepEqual([...await file.readInt32("extra.count")], [0, 1, 2]);
  await assert.rejects(file.readFloat32("extra.count"), /dtype is I64; only F32/);
  await assert.rejects(file.readFloat32("nothing"), /no tensor "nothing"/);
});

Deno.test("openTorchCheckpoint(): hyper-parameters of OmegaConf as JSON", async () => {
  using file = await openTorchCheckpoint(LIGHTNING);
  const { epoch, global_step, hyper_parameters } = file.facts;
  assert.deepEqual([epoch, global_step], [1, 2]);
  const model_kwargs = {
    model_id: "tiny",
    do_lora: true,
    lora_config: { r: 2, lora_alpha: 3 },
  };
  const training_kwargs = { optimizer: { lr: 1e-4 } };
  const model = { target: "src.models.cot.LitCoT", model_kwargs, training_kwargs };
  const dataset = { name: "gsm", sizes: [1, 2.5, null, "x"] };
  assert.deepEqual(hyper_parameters, {
    model_kwargs,
    training_kwargs,
    all_config: { model, dataset },
  });
});

const LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0a39\nsize 12\n";

const DATA = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);
const files = (pickle: Uint8Array, more = {}) =>
  zipOf({ "x/data.pkl": pickle, "x/data/0": DATA, ...more });

async function withFile(bytes: Uint8Array, work: (path: string) => Promise<void>) {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, bytes);
    await work(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("openTorchCheckpoint(): a plain state dict, and a view with strides", async () => {
  for (const [strides, expected] of [[[2, 1], [1, 2, 3, 4]], [[1, 2], [1, 3, 2, 4]]]) {
    await withFile(files(stateDict({ strides })), async (path) => {
      using file = await openTorchCheckpoint(path);
      assert.deepEqual([...await file.readFloat32("w")], expected);
      assert.deepEqual(file.facts, {});
    });
  }
});

Deno.test("openTorchCheckpoint(): lists that name each other are read to a limit", async () => {
  const byte = (n: number) => String.fromCharCode(n);
  const text = (s: string) => `X${byte(s.length)}\0\0\0${s}`;
  const tensors = String.fromCharCode(...stateDict({})).slice(2, -1);
  // Each list holds the one before twice: 2^40 values in 400 bytes.
  const pairs = Array.from({ length: 40 }, (_, i) => `](h${byte(i)}h${byte(i)}eq${byte(i + 1)}0`);
  const nested = `]q\x000${pairs.join("")}h${byte(40)}`;
  const pickle = `\x80\x02}${text("state_dict")}${tensors}s${text("hyper_parameters")}${nested}s.`;
  await withFile(files(Uint8Array.from(pickle, (c) => c.charCodeAt(0))), async (path) => {
    using file = await openTorchCheckpoint(path);
    assert.deepEqual([...file.tensors.keys()], ["w"]);
    assert.ok(Array.isArray(file.facts.hyper_parameters));
  });
});

Deno.test("openTorchCheckpoint() says what a pointer of Git LFS is", async () => {
  await withFile(new TextEncoder().encode(LFS_POINTER), async (path) => {
    await assert.rejects(openTorchCheckpoint(path), {
      name: "TypeError",
      message: `${path}: a Git LFS pointer instead of the file; fetch it: git lfs pull`,
    });
  });
});

const refused: [string, Uint8Array, RegExp][] = [
  ["an old file", new Uint8Array(64), /does not begin as a zip file; torch\.save writes zip files/],
  ["an archive of something else", zipOf({ a: "b" }), /holds no data\.pkl; name a file that torch/],
  [
    "big-endian numbers",
    files(stateDict({}), { "x/byteorder": "big" }),
    /byte order is "big"; save it on a little-endian machine/,
  ],
  ["a complex storage", files(stateDict({ storage: "ComplexFloatStorage" })), /names "torch\.Comp/],
  [
    "a storage of another size",
    files(stateDict({ numbers: 5 })),
    /has 16 bytes; .* must have 20; t/,
  ],
  [
    "a storage that is missing",
    zipOf({ "x/data.pkl": stateDict({}) }),
    /has no bytes; its storage/,
  ],
  ["a tensor beyond its storage", files(stateDict({ strides: [3, 1] })), /reaches beyond its stor/],
  [
    "a tensor that repeats numbers",
    files(stateDict({ shape: [200, 200], strides: [0, 0] })),
    /rep/,
  ],
  [
    "strides of another rank",
    files(stateDict({ strides: [1] })),
    /a tensor without storage, offset/,
  ],
  ["no tensors", files(Uint8Array.from([0x80, 2, 0x7d, 0x2e])), /holds no tensors by name; name a/],
];
for (const [what, bytes, message] of refused) {
  Deno.test(`openTorchCheckpoint() refuses ${what}`, async () => {
    await withFile(bytes, async (path) => {
      const read = async () => {
        using file = await openTorchCheckpoint(path);
        for (const name of file.tensors.keys()) await file.readFloat32(name);
      };
      await assert.rejects(read(), (error: Error) => {
        assert.equal(error.name, "SyntaxError");
        assert.ok(error.message.startsWith(path), error.message);
        assert.match(error.message, message);
        return true;
      });
    });
  });
}

Deno.test("openTorchCheckpoint(): files that others saved", async (t) => {
  const golden = await realFolder("GOLDEN_DIR", "golden");
  if (golden === undefined) {
    return console.log("  skipped: GOLDEN_DIR names no folder beside which such files are");
  }
  const folder = join(golden, "../models/torch-pt-fixtures");
  const sums = {
    "tiny_fair_checkpoint.pt": [21, 3200],
    "tiny_state_dict_with_one_key.pt": [1, 11.0879],
  };
  for (const [name, [count, sum]] of Object.entries(sums)) {
    await t.step(name, async () => {
      using file = await openTorchCheckpoint(join(folder, name));
      assert.equal(file.tensors.size, count);
      const [first] = file.tensors.keys();
      const total = (await file.readFloat32(first)).reduce((a, b) => a + b, 0);
      assert.ok(Math.abs(total - sum) < 1e-3, `${first}: ${total}`);
      for (const other of file.tensors.keys()) await file.readFloat32(other);
    });
  }
});
