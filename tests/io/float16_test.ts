import assert from "node:assert/strict";
import {
  bfloat16ToFloat32,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
} from "../../io/float16.ts";

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0];
}

function fromBits(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0];
}

/** IEEE 754 binary16 by its definition. */
function float16Value(code: number): number {
  const sign = code >> 15 ? -1 : 1;
  const exponent = (code >> 10) & 31;
  const fraction = code & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const EVERY_CODE = Uint16Array.from({ length: 0x10000 }, (_, code) => code);

Deno.test("float16 widens every code exactly and narrows it back", () => {
  const values = float16ToFloat32(EVERY_CODE);
  const back = float32ToFloat16(values);
  for (const code of EVERY_CODE) {
    const expected = float16Value(code);
    if (!Object.is(values[code], expected)) assert.fail(`${code}: ${values[code]} != ${expected}`);
    if (!Number.isNaN(expected)) assert.equal(back[code], code);
    else assert(Number.isNaN(float16Value(back[code])));
  }
});

Deno.test("float16 narrows to nearest, ties to even, between every pair of neighbours", () => {
  // 0x7bff is the largest finite code; its upper neighbour counts as 65536, so that ties at 65520 give infinity.
  for (let code = 0; code <= 0x7bff; code++) {
    const upper = code === 0x7bff ? 65536 : float16Value(code + 1);
    const middle = (float16Value(code) + upper) / 2;
    const bits = bitsOf(middle);
    const three = Float32Array.of(fromBits(bits - 1), middle, fromBits(bits + 1));
    const expected = [code, code + (code & 1), code + 1];
    assert.deepEqual([...float32ToFloat16(three)], expected);
    const negative = [...float32ToFloat16(three.map((value) => -value))];
    assert.deepEqual(negative, expected.map((each) => each | 0x8000));
  }
});

Deno.test("bfloat16 widens every code exactly and narrows it back", () => {
  const values = bfloat16ToFloat32(EVERY_CODE);
  const back = float32ToBfloat16(values);
  const bits = new Uint32Array(values.buffer);
  for (const code of EVERY_CODE) {
    assert.equal(bits[code], code * 0x10000);
    if (!Number.isNaN(values[code])) assert.equal(back[code], code);
    // A signalling NaN may only become quiet.
    else assert.equal(back[code], code | 0x40);
  }
});

Deno.test("bfloat16 narrows to nearest, ties to even, and never turns NaN into a number", () => {
  for (const sign of [0, 0x8000]) {
    for (let code = 0; code <= 0x7f7f; code++) {
      const bits = (sign | code) * 0x10000;
      const three = new Float32Array(
        Uint32Array.of(bits + 0x7fff, bits + 0x8000, bits + 0x8001).buffer,
      );
      const expected = [code, code + (code & 1), code + 1].map((each) => each | sign);
      assert.deepEqual([...float32ToBfloat16(three)], expected);
    }
  }
  const nans = new Float32Array(
    Uint32Array.of(0x7f800001, 0x7fffffff, 0xff800001, 0xffffffff).buffer,
  );
  assert.deepEqual([...float32ToBfloat16(nans)], [0x7fc0, 0x7fff, 0xffc0, 0xffff]);
});
