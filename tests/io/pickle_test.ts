/** Pickles as Python wrote them, by every protocol that torch.save may use; and those that would run something. */
import assert from "node:assert/strict";
import { PickleGlobal, PickleObject, readPickle } from "../../io/pickle.ts";

/** One value by protocols 2 to 5, from Python 3.11.7; its strings and numbers reach every opcode of its kind. */
const WRITTEN: Readonly<Record<string, string>> = {
  2: "gAJ9cQAoWAQAAABub25lcQFOWAEAAAB0cQKIWAEAAABpcQNdcQQoSwBL/00AAUoAAAEASv////+KBQAAAIAAigYA" +
    "AAAAAP+KCAAAAAAAAAAQZVgBAAAAZnEFRz/4AAAAAAAAWAEAAABzcQZYAwAAAMOpI3EHWAIAAAB0dXEISwGFcQlY" +
    "AgAAAHR0cQooSwFLAksDSwR0cQtYBAAAAG5lc3RxDH1xDVgBAAAAYXEOXXEPKH1xEF1xEWVzWAEAAABicRJjX2Nv" +
    "ZGVjcwplbmNvZGUKcRNYAwAAAADDv3EUWAYAAABsYXRpbjFxFYZxFlJxF1gDAAAAc2V0cRhjX19idWlsdGluX18K" +
    "c2V0CnEZXXEaKEsBSwJlhXEbUnEcWAIAAABvZHEdY2NvbGxlY3Rpb25zCk9yZGVyZWREaWN0CnEeKVJxH2gOSwFz" +
    "WAQAAABsb25ncSBYLAEAAHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHEhWAQAAABzZWxmcSJo" +
    "BHUu",
  3: "gAN9cQAoWAQAAABub25lcQFOWAEAAAB0cQKIWAEAAABpcQNdcQQoSwBL/00AAUoAAAEASv////+KBQAAAIAAigYA" +
    "AAAAAP+KCAAAAAAAAAAQZVgBAAAAZnEFRz/4AAAAAAAAWAEAAABzcQZYAwAAAMOpI3EHWAIAAAB0dXEISwGFcQlY" +
    "AgAAAHR0cQooSwFLAksDSwR0cQtYBAAAAG5lc3RxDH1xDVgBAAAAYXEOXXEPKH1xEF1xEWVzWAEAAABicRJDAgD/" +
    "cRNYAwAAAHNldHEUY2J1aWx0aW5zCnNldApxFV1xFihLAUsCZYVxF1JxGFgCAAAAb2RxGWNjb2xsZWN0aW9ucwpP" +
    "cmRlcmVkRGljdApxGilScRtoDksBc1gEAAAAbG9uZ3EcWCwBAAB4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHhxHVgEAAAAc2VsZnEeaAR1Lg==",
  4: "gASVDgIAAAAAAAB9lCiMBG5vbmWUTowBdJSIjAFplF2UKEsAS/9NAAFKAAABAEr/////igUAAACAAIoGAAAAAAD/" +
    "iggAAAAAAAAAEGWMAWaURz/4AAAAAAAAjAFzlIwDw6kjlIwCdHWUSwGFlIwCdHSUKEsBSwJLA0sEdJSMBG5lc3SU" +
    "fZSMAWGUXZQofZRdlGVzjAFilEMCAP+UjANzZXSUj5QoSwFLApCMAm9klIwLY29sbGVjdGlvbnOUjAtPcmRlcmVk" +
    "RGljdJSTlClSlGgOSwFzjARsb25nlFgsAQAAeHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4lIwE" +
    "c2VsZpRoBHUu",
  5: "gAWVDgIAAAAAAAB9lCiMBG5vbmWUTowBdJSIjAFplF2UKEsAS/9NAAFKAAABAEr/////igUAAACAAIoGAAAAAAD/" +
    "iggAAAAAAAAAEGWMAWaURz/4AAAAAAAAjAFzlIwDw6kjlIwCdHWUSwGFlIwCdHSUKEsBSwJLA0sEdJSMBG5lc3SU" +
    "fZSMAWGUXZQofZRdlGVzjAFilEMCAP+UjANzZXSUj5QoSwFLApCMAm9klIwLY29sbGVjdGlvbnOUjAtPcmRlcmVk" +
    "RGljdJSTlClSlGgOSwFzjARsb25nlFgsAQAAeHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4" +
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4lIwE" +
    "c2VsZpRoBHUu",
};
/** What `__reduce__` of a class that calls os.system gives. */
const HOSTILE = [
  "gAJjcG9zaXgKc3lzdGVtCnEAWBAAAAB0b3VjaCAvdG1wL3B3bmVkcQGFcQJScQMu",
  "gASVKwAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjBB0b3VjaCAvdG1wL3B3bmVklIWUUpQu",
];

const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const mapOf = ([items = []]: readonly unknown[]) => new Map(items as [unknown, unknown][]);
const GLOBALS = new Map([
  new PickleGlobal("collections.OrderedDict", mapOf),
  new PickleGlobal("_codecs.encode", ([text]) => bytesOf(btoa(String(text)))),
  ...["__builtin__", "builtins"].map((module) =>
    new PickleGlobal(`${module}.set`, ([items]) => new Set(items as unknown[]))
  ),
  new PickleGlobal("m.Record"),
].map((item) => [item.name, item]));

function read(bytes: Uint8Array<ArrayBuffer>) {
  return readPickle(bytes, "p", { globals: GLOBALS, persistent: (id) => ({ id }) });
}

for (const [protocol, base64] of Object.entries(WRITTEN)) {
  Deno.test(`readPickle(): protocol ${protocol}`, () => {
    const value = read(bytesOf(base64)) as Map<string, unknown>;
    const integers = [0, 255, 256, 65536, -1, 2 ** 31, -(2 ** 40), 2n ** 60n];
    assert.deepEqual([...value.keys()].slice(0, 4), ["none", "t", "i", "f"]);
    assert.deepEqual(value.get("i"), integers);
    assert.equal(value.get("self"), value.get("i"), "one list, met twice");
    assert.deepEqual(["none", "t", "f", "s"].map((key) => value.get(key)), [null, true, 1.5, "é#"]);
    assert.deepEqual([value.get("tu"), value.get("tt")], [[1], [1, 2, 3, 4]]);
    assert.deepEqual(value.get("nest"), new Map([["a", [new Map(), []]]]));
    assert.deepEqual(value.get("b"), Uint8Array.of(0, 255));
    assert.deepEqual(value.get("set"), new Set([1, 2]));
    assert.deepEqual(value.get("od"), new Map([["a", 1]]));
    assert.equal(value.get("long"), "x".repeat(300));
  });

  Deno.test(`readPickle(): protocol ${protocol}, cut anywhere, is torn`, () => {
    const bytes = bytesOf(base64);
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => read(bytes.slice(0, length)), SyntaxError, `${length} bytes`);
    }
  });
}

for (const base64 of HOSTILE) {
  Deno.test(`readPickle() refuses a call of the system by its name: ${base64.slice(0, 8)}`, () => {
    assert.throws(() => read(bytesOf(base64)), {
      name: "SyntaxError",
      message: 'p: names "posix.system", which is not allowed: a pickle could run it; ' +
        "save the tensors alone, torch.save({'state_dict': ...})",
    });
  });
}

/** A pickle of protocol 2 from opcodes: text stands for itself, numbers for bytes. */
function pickle(...codes: (string | number)[]): Uint8Array<ArrayBuffer> {
  const bytes = codes.flatMap((c) =>
    typeof c === "number" ? [c] : [...new TextEncoder().encode(c)]
  );
  return Uint8Array.from([0x80, 2, ...bytes]);
}

Deno.test("readPickle(): an object of a listed class stays a record", () => {
  const record = read(pickle("cm\nRecord\n)", 0x81, "K", 7, "b.")) as PickleObject;
  assert.ok(record instanceof PickleObject);
  assert.deepEqual([record.type.name, record.args, record.state], ["m.Record", [], 7]);
  const dict = read(pickle("cm\nRecord\n)", 0x81, "K", 1, "K", 2, "s.")) as PickleObject;
  assert.deepEqual(dict.items, new Map([[1, 2]]));
  assert.deepEqual(read(pickle("K", 3, "Q.")), { id: 3 });
});

const refused: [string, Uint8Array<ArrayBuffer>, RegExp][] = [
  [
    "protocol 0",
    bytesOf("KGxwMApJMQphLg=="),
    /^SyntaxError: p: no pickle of protocol 2 to 5; save it with/,
  ],
  ["a call of a class", pickle("cm\nRecord\n)R."), /calls "m\.Record", which is not allowed/],
  ["a call of a value", pickle("K", 1, ")R."), /calls a value, which is not allowed/],
  ["an object of no class", pickle("K", 1, ")", 0x81, "."), /an object of no class/],
  ["an instance by INST", pickle("(im\nRecord\n."), /opcode 0x69 at byte 3 is not supported/],
  ["an extension", pickle(0x82, 1, "."), /opcode 0x82 at byte 2 is not supported/],
  ["an empty stack", pickle("."), /nothing to take/],
  ["a mark taken as a value", pickle("(."), /nothing to take/],
  ["no mark", pickle("t."), /no mark before/],
  ["an unknown memo", pickle("h", 9, "."), /no memo 9/],
  ["items for no dict", pickle("K", 1, "K", 2, "K", 3, "s."), /items for what is no dict/],
  ["items for no list", pickle("K", 1, "K", 2, "a."), /items for what is no list/],
  ["text of 4 GiB", pickle("X", 255, 255, 255, 255, "."), /torn: 8 bytes end within a value/],
  ["bytes beyond 2^53", pickle(0x8e, 255, 255, 255, 255, 255, 255, 255, 255, "."), /torn/],
  ["an integer of 2 GiB", pickle(0x8b, 0, 0, 0, 127, "."), /an integer of \d+ bytes; torn/],
  ["text that is not UTF-8", pickle(0x8c, 1, 255, "."), /is not UTF-8/],
];
for (const [what, bytes, message] of refused) {
  Deno.test(`readPickle() refuses ${what}`, () => assert.throws(() => read(bytes), message));
}
