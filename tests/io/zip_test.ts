/** Zip files that torch.save writes, files over 4 GiB as their records say, and everything that is torn or hostile. */
import assert from "node:assert/strict";
import { bytesSource } from "../../io/safetensors.ts";
import type { ByteSource } from "../../io/safetensors_header.ts";
import { isZip, openZip } from "../../io/zip.ts";
import { zipOf } from "./zip_file.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const FILES = { "a/data.pkl": "pickle", "a/data/0": "0123456789" };

Deno.test("openZip(): entries by name, whole and by range", async () => {
  const bytes = zipOf(FILES);
  assert.ok(isZip(bytes) && !isZip(bytes.subarray(1)));
  const entries = await openZip(bytesSource(bytes, "z"));
  assert.deepEqual([...entries.keys()], Object.keys(FILES));
  assert.equal(text(await entries.get("a/data.pkl")!.read()), "pickle");
  assert.equal(text(await entries.get("a/data/0")!.read(2, 5)), "234");
  await assert.rejects(entries.get("a/data/0")!.read(2, 11), /^RangeError: z: bytes 2 to 11 are/);
});

Deno.test("openZip(): zip64 records give lengths and places beyond 4 GiB", async () => {
  const bytes = zipOf(FILES, { zip64: true });
  const entries = await openZip(bytesSource(bytes, "z"));
  assert.equal(text(await entries.get("a/data/0")!.read()), "0123456789");
  // The same directory behind 5 GiB of data that exists only in the source.
  const gap = 5 * 2 ** 30;
  const far = zipOf(FILES, { zip64: true, before: gap });
  const source: ByteSource = {
    name: "far",
    byteLength: gap + far.length,
    read: (start, end) => Promise.resolve(far.slice(start - gap, end - gap)),
  };
  const there = await openZip(source);
  assert.equal(text(await there.get("a/data.pkl")!.read()), "pickle");
});

const broken: [string, (bytes: Uint8Array<ArrayBuffer>) => Uint8Array, RegExp][] = [
  [
    "no zip",
    () => new Uint8Array(100),
    /^SyntaxError: z: no whole zip file: it has no directory at its end; copy or fetch it again$/,
  ],
  ["a cut end", (b) => b.subarray(0, b.length - 30), /no whole zip file: it has no direc/],
  ["a cut start", (b) => b.subarray(40), /no whole zip file: .*; copy or fetch it again$/],
  ["a compressed entry", (b) => changed(b, [[0x02014b50, 10, 8]]), /is compressed \(method 8\); t/],
  ["an encrypted entry", (b) => changed(b, [[0x02014b50, 8, 1]]), /is encrypted; save it without/],
  [
    "lengths that differ",
    (b) => changed(b, [[0x02014b50, 20, 5]]),
    /entry "a\/data\.pkl" has 5 bytes for 6; copy/,
  ],
  ["a place beyond", (b) => changed(b, [[0x02014b50, 42, 250]]), /is not within the file; copy or/],
  ["a length beyond", (b) => changed(b, [[0x02014b50, 20, 240], [0x02014b50, 24, 240]]), /within/],
  [
    "one entry too many",
    (b) => changed(b, [[0x06054b50, 10, 3]]),
    /: entry 2 of its directory is none; copy/,
  ],
  ["a part of a split file", (b) => changed(b, [[0x06054b50, 4, 1]]), /is one part of a split f/],
  ["a directory beyond", (b) => changed(b, [[0x06054b50, 16, 250]]), /its directory of \d+ bytes/],
];
for (const [what, change, message] of broken) {
  Deno.test(`openZip() refuses ${what}`, async () => {
    const bytes = Uint8Array.from(change(zipOf(FILES)));
    const open = async () => {
      for (const entry of (await openZip(bytesSource(bytes, "z"))).values()) await entry.read();
    };
    await assert.rejects(open(), message);
  });
}

Deno.test("openZip() refuses an entry that is there twice", async () => {
  const twice = zipOf({ "a": "1", "b": "2" });
  twice[twice.lastIndexOf(98)] = 97;
  await assert.rejects(openZip(bytesSource(twice, "z")), /entry "a" is there twice/);
});

/** Bytes with 8-bit values changed, each at a place behind the first record that begins with a signature. */
function changed(bytes: Uint8Array<ArrayBuffer>, changes: [number, number, number][]) {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  for (const [signature, offset, value] of changes) {
    let at = 0;
    while (view.getUint32(at, true) !== signature) at++;
    copy[at + offset] = value;
  }
  return copy;
}
