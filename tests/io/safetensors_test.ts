/**
 * Safetensors: the header's refusals, reading by ranges, shards, the writer, and the 16-bit conversions.
 *
 * The expected bytes of FIXTURE are what `safetensors.numpy.save_file` of the Python package safetensors 0.8.0 wrote
 * for the tensors of FIXTURE_TENSORS with metadata {"format": "pt"} (bfloat16 by ml_dtypes).
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  bfloat16ToFloat32,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
} from "../../io/float16.ts";
import {
  type ByteSource,
  bytesSource,
  fileSource,
  loadSafetensors,
  openCheckpoint,
  openSafetensors,
  type TensorData,
  writeSafetensors,
} from "../../io/safetensors.ts";

const FIXTURE_HEADER = '{"__metadata__":{"format":"pt"},' +
  '"ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},' +
  '"empty":{"dtype":"F32","shape":[0,5],"data_offsets":[16,16]},' +
  '"w":{"dtype":"F32","shape":[2,1],"data_offsets":[16,24]},' +
  '"n":{"dtype":"I32","shape":[1],"data_offsets":[24,28]},' +
  '"layer.a":{"dtype":"BF16","shape":[2],"data_offsets":[28,32]},' +
  '"layer.b":{"dtype":"BF16","shape":[3],"data_offsets":[32,38]},' +
  '"half":{"dtype":"F16","shape":[],"data_offsets":[38,40]},' +
  '"flags":{"dtype":"U8","shape":[3],"data_offsets":[40,43]}}    ';
const FIXTURE_DATA = "0700000000000000ffffffffffffffff0000c03f000000c005000000" +
  "803f00c0803f00bf4040ff7b0100ff";
const FIXTURE = fileBytes(FIXTURE_HEADER, Uint8Array.fromHex(FIXTURE_DATA));
const FIXTURE_TENSORS = new Map<string, TensorData>([
  ["w", { dtype: "F32", shape: [2, 1], data: Float32Array.of(1.5, -2) }],
  ["layer.b", { dtype: "BF16", shape: [3], data: float32ToBfloat16(Float32Array.of(1, -0.5, 3)) }],
  ["layer.a", { dtype: "BF16", shape: [2], data: float32ToBfloat16(Float32Array.of(1, -2)) }],
  ["half", { dtype: "F16", shape: [], data: float32ToFloat16(Float32Array.of(65504)) }],
  ["ids", { dtype: "I64", shape: [2], data: Int32Array.of(7, -1) }],
  ["n", { dtype: "I32", shape: [1], data: Int32Array.of(5) }],
  ["empty", { dtype: "F32", shape: [0, 5], data: new Float32Array(0) }],
  ["flags", { dtype: "U8", shape: [3], data: Uint8Array.of(1, 0, 255) }],
]);

/** A file with this header text (or bytes) and data; `headerLength` overrides the true length. */
function fileBytes(
  header: string | Uint8Array,
  data: Uint8Array = new Uint8Array(0),
  headerLength?: bigint,
): Uint8Array<ArrayBuffer> {
  const text = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, headerLength ?? BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}

function open(header: string, data: Uint8Array = new Uint8Array(0)) {
  return openSafetensors(bytesSource(fileBytes(header, data), "bad.safetensors"));
}

/** Checks that one line, with the file's name and `words`, refuses these bytes. */
async function refuses(bytes: Uint8Array, words: RegExp) {
  await assert.rejects(openSafetensors(bytesSource(bytes, "bad.safetensors")), (error) => {
    assert(error instanceof SyntaxError, String(error));
    assert.match(error.message, words);
    assert.match(error.message, /^bad\.safetensors: /);
    assert(error.message.length < 500, error.message);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });
}

async function inFolder(body: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir({ prefix: "safetensors_test_" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
}

const EIGHT = new Uint8Array(8);
const entry = (dtype: string, shape: string, offsets: string) =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;
const GOOD = entry("F32", "[2]", "[0,8]");

/** What each refused file is, its bytes, and the words of the refusal. */
const REFUSED: [string, Uint8Array, RegExp][] = [
  ["an empty file", new Uint8Array(0), /0 bytes long; .* 8 or more/],
  ["seven bytes", new Uint8Array(7), /7 bytes long; .* 8 or more/],
  [
    "header length 0",
    fileBytes(""),
    /header length 0; it must be at least 2; fetch or save the file again$/,
  ],
  [
    "header past the end",
    fileBytes("{}", EIGHT, 11n),
    /header length 11 .* the file, 18 bytes; fetch or save/,
  ],
  [
    "header over 100 MB",
    fileBytes("{}", EIGHT, 100_000_001n),
    /length 100000001 .* 100 MB; fetch or save/,
  ],
  ["header length 2^64 - 1", fileBytes("{}", EIGHT, 2n ** 64n - 1n), /length 18446744.* 100 MB/],
  ["not UTF-8", fileBytes(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), /not UTF-8/],
  ["not JSON", fileBytes(`{"a":\n${GOOD}`, EIGHT), /not JSON: /],
  ["a list", fileBytes("[]"), /starts with byte 91; it must start with \{/],
  ["a leading space", fileBytes(" {}"), /starts with byte 32; it must start with \{/],
  ["a leading byte order mark", fileBytes("\ufeff{}"), /starts with byte 239/],
  ["an entry that is no object", fileBytes('{"a":[1]}'), /"a": is a list; it must be an object/],
  ["a null entry", fileBytes('{"a":null}'), /"a": is null; it must be an object/],
  ["no dtype", fileBytes('{"a":{"shape":[2],"data_offsets":[0,8]}}', EIGHT), /has no dtype/],
  ["no shape", fileBytes('{"a":{"dtype":"F32","data_offsets":[0,8]}}', EIGHT), /has no shape/],
  ["no offsets", fileBytes('{"a":{"dtype":"F32","shape":[2]}}', EIGHT), /has no data_offsets/],
  [
    "an unknown key",
    fileBytes(`{"a":${GOOD.replace("}", ',"stride":[1]}')}}`, EIGHT),
    /unknown key "stride"/,
  ],
  [
    "unknown dtype",
    fileBytes(`{"a":${entry("F33", "[2]", "[0,8]")}}`, EIGHT),
    /dtype "F33"; known/,
  ],
  [
    "dtype __proto__",
    fileBytes(`{"a":${entry("__proto__", "[]", "[0,8]")}}`, EIGHT),
    /unknown dty/,
  ],
  [
    "dtype of a wrong type",
    fileBytes('{"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}}', EIGHT),
    /dtype is 4; it must be a string/,
  ],
  [
    "shape of a wrong type",
    fileBytes(`{"a":${entry("F32", "2", "[0,8]")}}`),
    /shape is 2; .* list/,
  ],
  [
    "offsets of a wrong type",
    fileBytes(`{"a":${entry("F32", "[2]", "{}")}}`),
    /offsets is an object/,
  ],
  [
    "one offset",
    fileBytes(`{"a":${entry("F32", "[2]", "[8]")}}`, EIGHT),
    /"8" must be two numbers/,
  ],
  ["3 offsets", fileBytes(`{"a":${entry("U8", "[1]", "[0,1,1]")}}`, EIGHT), /must be two numbers/],
  ["negative size", fileBytes(`{"a":${entry("F32", "[-2]", "[0,8]")}}`), /shape holds -2; .* 0 to/],
  ["fractional size", fileBytes(`{"a":${entry("F32", "[2.5]", "[0,8]")}}`), /shape holds 2\.5/],
  ["a size of 2^53", fileBytes(`{"a":${entry("U8", "[9007199254740992]", "[0,8]")}}`), /2\^53 - 1/],
  ["a string as size", fileBytes(`{"a":${entry("F32", '["2"]', "[0,8]")}}`), /shape holds "2"/],
  ["negative offset", fileBytes(`{"a":${entry("F32", "[2]", "[-8,0]")}}`), /data_offsets holds -8/],
  [
    "unsafe offset",
    fileBytes(`{"a":${entry("F32", "[2]", "[0,1e300]")}}`),
    /data_offsets holds 1e/,
  ],
  [
    "a product over 2^53",
    fileBytes(`{"a":${entry("F32", "[4294967296,4294967296]", "[0,8]")}}`, EIGHT),
    /shape "4294967296,4294967296" exceeds 2\^53 - 1 bytes/,
  ],
  [
    "a product over 2^53 before a zero",
    fileBytes(`{"a":${entry("F32", "[4294967296,4294967296,0]", "[0,0]")}}`),
    /exceeds 2\^53 - 1 bytes/,
  ],
  [
    "offsets out of range",
    fileBytes(`{"a":${entry("F32", "[3]", "[0,12]")}}`, EIGHT),
    /"0,12" are out of range; the data has 8 bytes; fetch or save the file again$/,
  ],
  ["reversed", fileBytes(`{"a":${entry("F32", "[2]", "[8,0]")}}`, EIGHT), /"8,0" are reversed/],
  [
    "offsets that do not match",
    fileBytes(`{"a":${entry("F32", "[3]", "[0,8]")}}`, EIGHT),
    /"0,8" span 8 bytes; F32 of shape "3" takes 12/,
  ],
  [
    "overlapping tensors",
    fileBytes(`{"a":${GOOD},"b":${entry("F32", "[1]", "[4,8]")}}`, EIGHT),
    /tensors "a" and "b" overlap; fetch or save the file again$/,
  ],
  [
    "a zero-size tensor inside another",
    fileBytes(`{"a":${GOOD},"b":${entry("F32", "[0]", "[4,4]")}}`, EIGHT),
    /tensors "a" and "b" overlap/,
  ],
  [
    "a hole before the first tensor",
    fileBytes(`{"a":${entry("F32", "[1]", "[4,8]")}}`, EIGHT),
    /hole of 4 bytes between the header and "a"/,
  ],
  [
    "a hole between tensors",
    fileBytes(`{"a":${entry("U8", "[1]", "[0,1]")},"b":${entry("F32", "[1]", "[4,8]")}}`, EIGHT),
    /hole of 3 bytes between "a" and "b"; fetch or save the file again$/,
  ],
  [
    "trailing bytes",
    fileBytes(`{"a":${GOOD}}`, new Uint8Array(9)),
    /1 trailing bytes after "a"; none may follow; fetch or save the file again$/,
  ],
  ["data without a tensor", fileBytes("{}", EIGHT), /8 trailing bytes after the header/],
  ["a duplicate", fileBytes(`{"a":${GOOD},"a":${GOOD}}`, EIGHT), /duplicate name "a"/],
  [
    "an escaped duplicate",
    fileBytes(`{"a":${GOOD},"\\u0061" :${GOOD}}`, EIGHT),
    /duplicate name "a"/,
  ],
  ["a duplicate field", fileBytes(`{"a":{"dtype":"F64",${GOOD.slice(1)}}`, EIGHT), /name "dtype"/],
  [
    "metadata of numbers",
    fileBytes('{"__metadata__":{"k":1}}'),
    /__metadata__ "k" is 1; .* strings/,
  ],
  ["nested metadata", fileBytes('{"__metadata__":{"k":{}}}'), /__metadata__ "k" is an object/],
  ["metadata as a list", fileBytes('{"__metadata__":[]}'), /__metadata__ is a list; .* object/],
  ["duplicate metadata", fileBytes('{"__metadata__":{"k":"","k":""}}'), /duplicate name "k"/],
  ["a name of control characters", fileBytes('{"a\\n\\u009b":1}'), /tensor "a\\n\?": is 1/],
  ["a very long name", fileBytes(`{"${"x".repeat(5000)}":1}`), /tensor "x{99}\.\.\.: is 1/],
  ["deep nesting", fileBytes(`{"a":${"[".repeat(1e5)}${"]".repeat(1e5)}}`), /"a": is a list/],
];

for (const [what, bytes, words] of REFUSED) {
  Deno.test(`safetensors refuses ${what}`, () => refuses(bytes, words));
}

Deno.test("safetensors: strings that look like keys or ends do not fool the search for duplicates", async () => {
  const file = await open(
    '{"__metadata__":{"a":"\\"a\\":{}","b":"}}\\\\"},"a":' + GOOD + ',"dtype":' +
      entry("U8", "[0]", "[8,8]") + "}",
    EIGHT,
  );
  assert.deepEqual([...file.tensors.keys()], ["a", "dtype"]);
  assert.deepEqual([...file.metadata], [["a", '"a":{}'], ["b", "}}\\"]]);
});

Deno.test("safetensors: __proto__ and other inherited names are only names", async () => {
  const file = await open(`{"__metadata__":{"__proto__":"x"},"__proto__":${GOOD}}`, EIGHT);
  assert.deepEqual([...file.tensors.keys()], ["__proto__"]);
  assert.deepEqual([...file.metadata], [["__proto__", "x"]]);
  assert.deepEqual([...await file.readFloat32("__proto__")], [0, 0]);
  assert.equal(Object.hasOwn(Object.prototype, "dtype"), false);
  await assert.rejects(file.read("constructor"), /no tensor "constructor" among 1: "__proto__"/);
});

Deno.test("safetensors: an empty header and trailing white space are well-formed", async () => {
  assert.equal((await open("{}")).tensors.size, 0);
  assert.equal((await open(`{"a":${GOOD}} \n\t`, EIGHT)).tensors.size, 1);
});

Deno.test("safetensors: opening reads the header only, a tensor by its own range", async () => {
  const inner = bytesSource(FIXTURE, "fixture");
  const ranges: number[][] = [];
  const source: ByteSource = {
    ...inner,
    read(start, end) {
      ranges.push([start, end]);
      return inner.read(start, end);
    },
  };
  const file = await openSafetensors(source);
  await file.read("layer.a");
  assert.deepEqual(ranges, [[0, 8], [8, 512], [512 + 28, 512 + 32]]);
});

Deno.test("safetensors reads what the Python package wrote", async () => {
  const file = await openSafetensors(bytesSource(FIXTURE, "fixture"));
  assert.deepEqual(file.tensors.get("w"), {
    name: "w",
    dtype: "F32",
    shape: [2, 1],
    byteLength: 8,
  });
  assert.deepEqual(file.tensors.get("half")?.shape, []);
  assert.deepEqual([...file.metadata], [["format", "pt"]]);
  assert.deepEqual(await file.readFloat32("w"), Float32Array.of(1.5, -2));
  assert.deepEqual(await file.readFloat32("layer.b"), Float32Array.of(1, -0.5, 3));
  assert.deepEqual(await file.readFloat32("half"), Float32Array.of(65504));
  assert.deepEqual(await file.readFloat32("empty"), new Float32Array(0));
  assert.deepEqual(await file.readInt32("ids"), Int32Array.of(7, -1));
  assert.deepEqual(await file.readInt32("n"), Int32Array.of(5));
  assert.deepEqual(await file.readInt32("flags"), Int32Array.of(1, 0, 255));
  assert.deepEqual(await file.read("layer.a"), Uint8Array.of(0x80, 0x3f, 0x00, 0xc0));
});

Deno.test("safetensors: float64 is rounded, int64 checked, other dtypes refused", async () => {
  const data = new Uint8Array(32);
  new Float64Array(data.buffer)[0] = Math.PI;
  new BigInt64Array(data.buffer).set([-(2n ** 31n), 2n ** 31n - 1n, 2n ** 31n], 1);
  const file = await open(
    `{"pi":${entry("F64", "[1]", "[0,8]")},"fits":${entry("I64", "[2]", "[8,24]")},` +
      `"big":${entry("I64", "[1]", "[24,32]")},"f8":${entry("F8_E4M3", "[0]", "[0,0]")}}`,
    data,
  );
  assert.deepEqual(await file.readFloat32("pi"), Float32Array.of(Math.fround(Math.PI)));
  assert.deepEqual(await file.readInt32("fits"), Int32Array.of(-(2 ** 31), 2 ** 31 - 1));
  await assert.rejects(file.readInt32("big"), {
    name: "RangeError",
    message:
      'bad.safetensors: tensor "big": element 0 is 2147483648; int32 holds -2^31 to 2^31 - 1',
  });
  await assert.rejects(file.readFloat32("fits"), {
    name: "TypeError",
    message:
      'bad.safetensors: tensor "fits": dtype is I64; only F32, F16, BF16, F64 can be read as float32',
  });
  await assert.rejects(file.readInt32("pi"), /dtype is F64; only I32, I64, U8, BOOL can be read/);
  await assert.rejects(file.readInt32("f8"), /dtype is F8_E4M3; only I32/);
});

Deno.test("safetensors: BOOL reads as 0 and 1", async () => {
  const file = await open(`{"a":${entry("BOOL", "[3]", "[0,3]")}}`, Uint8Array.of(1, 0, 1));
  assert.deepEqual(await file.readInt32("a"), Int32Array.of(1, 0, 1));
});

Deno.test("safetensors: data at an odd offset reads right, also from views and from files", async () => {
  const data = new Uint8Array(8 + 12);
  new BigInt64Array(data.buffer, 0, 1)[0] = -3n;
  new Float32Array(data.buffer, 8, 3).set([1, -2, 0.1]);
  const header = `{"i":${entry("I64", "[1]", "[0,8]")},"f":${entry("F32", "[3]", "[8,20]")}}`;
  const bytes = fileBytes(header.length % 2 ? header : header + " ", data);
  assert.equal((bytes.length - data.length) % 2, 1);
  const views: ByteSource = {
    name: "views",
    byteLength: bytes.length,
    read: (start, end) => Promise.resolve(bytes.subarray(start, end)),
  };
  await inFolder(async (folder) => {
    const path = join(folder, "odd.safetensors");
    await Deno.writeFile(path, bytes);
    using source = await fileSource(path);
    for (const each of [bytesSource(bytes, "odd"), views, source]) {
      const file = await openSafetensors(each);
      assert.deepEqual(await file.readFloat32("f"), Float32Array.of(1, -2, 0.1));
      assert.deepEqual(await file.readInt32("i"), Int32Array.of(-3));
    }
  });
});

Deno.test("safetensors: reads at the same time do not disturb one another", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "many.safetensors");
    const tensors = new Map<string, TensorData>();
    for (let i = 0; i < 200; i++) {
      tensors.set(`t${i}`, { dtype: "F32", shape: [257], data: new Float32Array(257).fill(i) });
    }
    await writeSafetensors(path, tensors);
    using source = await fileSource(path);
    const file = await openSafetensors(source);
    await Promise.all([...tensors].map(async ([name, { data }]) => {
      assert.deepEqual(await file.readFloat32(name), data);
    }));
  });
});

Deno.test("safetensors: a pointer of Git LFS is called one", async () => {
  const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0a39\nsize 12345\n";
  await assert.rejects(
    openSafetensors(bytesSource(new TextEncoder().encode(pointer), "model.safetensors")),
    {
      name: "TypeError",
      message: "model.safetensors: a Git LFS pointer instead of the file; fetch it: git lfs pull",
    },
  );
});

Deno.test("openCheckpoint names the weights of another format", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "README.md"), "");
    await Deno.writeTextFile(join(folder, "pytorch_model.bin"), "");
    await assert.rejects(openCheckpoint(folder), (error: Error) => {
      assert.match(
        error.message,
        /: has no model\.safetensors; "pytorch_model\.bin" is not read: only/,
      );
      assert.match(
        error.message,
        /; load it in transformers and write it with save_pretrained\(FOL/,
      );
      return true;
    });
  }));

Deno.test("safetensors: sources refuse ranges outside, a truncated file and a folder", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "short.safetensors");
    await Deno.writeFile(path, FIXTURE);
    using source = await fileSource(path);
    for (const each of [source, bytesSource(FIXTURE, "fixture")]) {
      assert.equal(each.byteLength, FIXTURE.length);
      await assert.rejects(
        each.read(0, FIXTURE.length + 1),
        /range 0 to 556 is not within 555 bytes/,
      );
      await assert.rejects(each.read(-1, 2), /range -1 to 2/);
      await assert.rejects(each.read(2, 1), /range 2 to 1/);
      assert.deepEqual(await each.read(3, 3), new Uint8Array(0));
    }
    await Deno.truncate(path, 532);
    const file = await openSafetensors(source);
    await assert.rejects(file.read("w"), /got 4 of the bytes 528 to 536; the file was cut short/);
    await assert.rejects(fileSource(folder), /not a file; name a \.safetensors file/);
    await assert.rejects(fileSource(join(folder, "none")), Deno.errors.NotFound);
  });
});

Deno.test("safetensors: a source that gives too few bytes is refused", async () => {
  const inner = bytesSource(FIXTURE, "remote");
  let cut = 0;
  const file = await openSafetensors({
    ...inner,
    read: (start, end) => inner.read(start, end - cut),
  });
  cut = 1;
  await assert.rejects(
    file.readFloat32("w"),
    /remote: got 7 of tensor "w", 8 bytes were asked for/,
  );
});

Deno.test("safetensors writes the bytes that the Python package writes", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "model.safetensors");
    await writeSafetensors(path, FIXTURE_TENSORS, new Map([["format", "pt"]]));
    assert.deepEqual(new Uint8Array(await Deno.readFile(path)), FIXTURE);
    await writeSafetensors(
      path,
      new Map([...FIXTURE_TENSORS].reverse()),
      new Map([["format", "pt"]]),
    );
    assert.deepEqual(new Uint8Array(await Deno.readFile(path)), FIXTURE);
    assert.deepEqual(namesIn(folder), ["model.safetensors"]);
  });
});

Deno.test("safetensors writes names in UTF-8 order, metadata in key order, odd names escaped", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "names.safetensors");
    const one: TensorData = { dtype: "U8", shape: [], data: Uint8Array.of(1) };
    const names = ["\u{1f600}", "\ufffd", 'a\n"\\/', "__proto__", "", "10", "9"];
    const metadata = new Map([["b", "2"], ["10", "\u0001"], ["__proto__", "é"]]);
    await writeSafetensors(path, new Map(names.map((name) => [name, one])), metadata);
    using source = await fileSource(path);
    const file = await openSafetensors(source);
    const sorted = ["", "10", "9", "__proto__", 'a\n"\\/', "\ufffd", "\u{1f600}"];
    assert.deepEqual([...file.tensors.keys()], sorted);
    assert.deepEqual(file.metadata, metadata);
    const head = new TextDecoder().decode(await source.read(8, 63));
    assert.equal(head, '{"__metadata__":{"10":"\\u0001","__proto__":"é","b":"2"');
  });
});

Deno.test("safetensors round trips odd sizes, scalars, empty tensors and an empty file", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "round.safetensors");
    const tensors = new Map<string, TensorData>();
    for (const size of [0, 1, 7, 257]) {
      const ints = Int32Array.from({ length: size }, (_, i) => (i % 2 ? -1 : 1) * i * 8_355_967);
      const floats = Float32Array.from(ints, (value) => value / 3);
      const shape = size === 1 ? [] : [size, 1];
      tensors.set(`f32.${size}`, { dtype: "F32", shape, data: floats });
      tensors.set(`bf16.${size}`, { dtype: "BF16", shape, data: float32ToBfloat16(floats) });
      tensors.set(`f16.${size}`, { dtype: "F16", shape, data: float32ToFloat16(floats) });
      tensors.set(`i32.${size}`, { dtype: "I32", shape, data: ints });
      tensors.set(`i64.${size}`, { dtype: "I64", shape, data: ints });
      tensors.set(`u8.${size}`, { dtype: "U8", shape, data: new Uint8Array(ints) });
    }
    // A view into a larger buffer must be written alone.
    const view = new Float32Array([9, 1, 2, 9]).subarray(1, 3);
    tensors.set("view", { dtype: "F32", shape: [2], data: view });
    await writeSafetensors(path, tensors);
    const loaded = await loadSafetensors(path);
    assert.equal(loaded.size, tensors.size);
    for (const [name, { dtype, shape, data }] of tensors) {
      const expected = dtype === "BF16"
        ? bfloat16ToFloat32(data)
        : dtype === "F16"
        ? float16ToFloat32(data)
        : dtype === "U8"
        ? new Int32Array(data)
        : data;
      assert.deepEqual(loaded.get(name), { dtype, shape, data: expected }, name);
    }
    await writeSafetensors(path, new Map());
    assert.equal((await loadSafetensors(path)).size, 0);
  });
});

Deno.test("safetensors: a failed write leaves the old file and no temporary one", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "model.safetensors");
    const good: TensorData = { dtype: "F32", shape: [1], data: Float32Array.of(1) };
    await writeSafetensors(path, new Map([["a", good]]));
    const before = await Deno.readFile(path);
    // Data that throws once the temporary file is there stands for a disk that fills up after the header.
    const failing: TensorData = {
      dtype: "U8",
      shape: [1],
      get data(): Uint8Array<ArrayBuffer> {
        if (namesIn(folder).length > 1) throw new Error("disk is full");
        return Uint8Array.of(1);
      },
    };
    const tensors = new Map<string, TensorData>([["a", good], ["b", failing]]);
    await assert.rejects(writeSafetensors(path, tensors), /disk is full/);
    assert.deepEqual(await Deno.readFile(path), before);
    assert.deepEqual(namesIn(folder), ["model.safetensors"]);

    const taken = join(folder, "taken");
    await Deno.mkdir(join(taken, "inside"), { recursive: true });
    await assert.rejects(writeSafetensors(taken, new Map([["a", good]])), /directory/i);
    assert.deepEqual(namesIn(folder), ["model.safetensors", "taken"]);
    await assert.rejects(
      writeSafetensors(join(folder, "none", "a.safetensors"), new Map([["a", good]])),
      Deno.errors.NotFound,
    );
  });
});

Deno.test("safetensors: tensors that the format cannot hold are refused before writing", async () => {
  await inFolder(async (folder) => {
    const write = (name: string, shape: number[], metadata?: Map<string, string>) =>
      writeSafetensors(
        join(folder, "a.safetensors"),
        new Map([[name, { dtype: "F32", shape, data: new Float32Array(3) }]]),
        metadata,
      );
    await assert.rejects(write("a", [2]), {
      name: "TypeError",
      message: 'tensor "a": shape [2] must match its 3 values',
    });
    await assert.rejects(write("a", [-1, -3]), /shape \[-1,-3\] must match/);
    await assert.rejects(write("__metadata__", [3]), /__metadata__ is reserved; rename it/);
    await assert.rejects(write("\ud800", [3]), /"\\ud800" holds half a surrogate pair/);
    await assert.rejects(write("a", [3], new Map([["k", "\ud800"]])), /half a surrogate pair/);
    assert.deepEqual(namesIn(folder), []);
  });
});

/** Writes two shards, one tensor each, and an index with this weight_map. */
async function writeShards(folder: string, weightMap: string) {
  for (const [i, name] of ["a", "b"].entries()) {
    const tensor: TensorData = { dtype: "F32", shape: [1], data: Float32Array.of(i) };
    await writeSafetensors(
      join(folder, `model-${i}.safetensors`),
      new Map([[name, tensor]]),
      new Map([["format", "pt"]]),
    );
  }
  const index = `{"metadata":{"total_size":8},"weight_map":${weightMap}}`;
  await Deno.writeTextFile(join(folder, "model.safetensors.index.json"), index);
}

Deno.test("openCheckpoint reads shards by their index, and one file where there is one", async () => {
  await inFolder(async (folder) => {
    await writeShards(folder, '{"b":"model-1.safetensors","a":"model-0.safetensors"}');
    {
      using sharded = await openCheckpoint(folder);
      assert.deepEqual([...sharded.tensors.keys()].sort(), ["a", "b"]);
      assert.deepEqual([...sharded.metadata], [["format", "pt"]]);
      assert.deepEqual(await sharded.readFloat32("a"), Float32Array.of(0));
      assert.deepEqual(await sharded.readFloat32("b"), Float32Array.of(1));
      await assert.rejects(sharded.read("c"), /no tensor "c" among 2/);
    }
    await Deno.writeFile(join(folder, "model.safetensors"), FIXTURE);
    using single = await openCheckpoint(folder);
    assert.equal(single.tensors.size, 8);
    assert.deepEqual(await single.readInt32("ids"), Int32Array.of(7, -1));
  });
});

const BAD_INDEXES: [string, string, RegExp][] = [
  ["a missing shard", '{"a":"model-2.safetensors"}', /shard "model-2.safetensors" is missing/],
  ["a tensor not in its shard", '{"a":"model-1.safetensors"}', /"a" is not in shard "model-1.safe/],
  ["a path", '{"a":"../model-0.safetensors"}', /"a" is "\.\.\/model-0.* without a path/],
  ["a Windows path", '{"a":"x\\\\model-0.safetensors"}', /without a path/],
  ["another kind of file", '{"a":".."}', /"a" is "\.\."; .* \.safetensors file/],
  ["a number", '{"a":1}', /weight_map "a" is 1; its values are strings/],
  ["a list", "[]", /weight_map is a list; it must be an object/],
  ["a duplicate", '{"a":"model-0.safetensors","a":"model-1.safetensors"}', /duplicate name "a"/],
  ["a syntax error", "{", /not JSON: /],
];

for (const [what, weightMap, words] of BAD_INDEXES) {
  Deno.test(`openCheckpoint refuses an index with ${what}`, () =>
    inFolder(async (folder) => {
      await writeShards(folder, weightMap);
      await assert.rejects(openCheckpoint(folder), (error) => {
        assert(error instanceof Error);
        assert.match(error.message, words);
        assert.match(error.message, /^[^\n]*model\.safetensors\.index\.json: [^\n]*$/);
        return true;
      });
    }));
}

Deno.test("openCheckpoint refuses a folder without weights", () =>
  inFolder(async (folder) => {
    await assert.rejects(openCheckpoint(folder), /holds neither model\.safetensors nor/);
  }));

async function* safetensorsBelow(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    if (isDirectory) yield* safetensorsBelow(path);
    else if (name.endsWith(".safetensors")) yield path;
  }
}

/** The tensors of a file as the writer takes them; undefined if it holds a dtype that the writer lacks. */
async function rawTensors(path: string): Promise<Map<string, TensorData>> {
  using source = await fileSource(path);
  const file = await openSafetensors(source);
  const tensors = new Map<string, TensorData>();
  for (const { name, dtype, shape } of file.tensors.values()) {
    const { buffer } = await file.read(name);
    if (dtype === "F32") tensors.set(name, { dtype, shape, data: new Float32Array(buffer) });
    else if (dtype === "BF16") tensors.set(name, { dtype, shape, data: new Uint16Array(buffer) });
    else if (dtype === "I32" || dtype === "I64") {
      tensors.set(name, { dtype, shape, data: await file.readInt32(name) });
    } else assert.fail(`${path}: ${dtype}`);
  }
  return tensors;
}

Deno.test("safetensors reads and rewrites the golden files bit for bit", async () => {
  const golden = fileURLToPath(new URL("../../../shared/golden", import.meta.url));
  try {
    await Deno.stat(golden);
  } catch (error) {
    console.log(`skipped: no golden files (${error instanceof Error ? error.message : error})`);
    return;
  }
  await inFolder(async (folder) => {
    const copy = join(folder, "copy.safetensors");
    let numFiles = 0;
    let numTensors = 0;
    for await (const path of safetensorsBelow(golden)) {
      for (const [name, { shape, data }] of await loadSafetensors(path)) {
        assert.equal(data.length, shape.reduce((a, b) => a * b, 1), `${path}: ${name}`);
        numTensors++;
      }
      using source = await fileSource(path);
      const { metadata } = await openSafetensors(source);
      await writeSafetensors(copy, await rawTensors(path), metadata.size ? metadata : undefined);
      const [ours, theirs] = [await Deno.readFile(copy), await Deno.readFile(path)];
      assert.equal(Buffer.compare(ours, theirs), 0, `${path} is written differently`);
      numFiles++;
    }
    assert(numFiles > 0);
    console.log(`${numFiles} golden files, ${numTensors} tensors`);
  });
});
