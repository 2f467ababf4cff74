/**
 * Numbers of checkpoint files, converted as whole arrays to and from the two types we compute with: the 16-bit
 * floats, float64 and int64 against float32 and int32.
 *
 * 16-bit floats are raw codes in a Uint16Array, as files hold them. Widening is exact; narrowing rounds to nearest,
 * ties to even, overflows to infinity and keeps NaN a NaN. bfloat16 is the upper half of a float32; float16 is IEEE
 * 754 binary16, whose subnormals and infinities are left to the engine's own Float16Array. Bytes are little-endian,
 * as is every platform with WebGPU.
 *
 * Source: IEEE 754-2019, section 3.6; bfloat16 as in https://cloud.google.com/tpu/docs/bfloat16.
 */

type Bytes = Uint8Array<ArrayBuffer>;

const ABS_MASK = 0x7fffffff;
const INFINITY_BITS = 0x7f800000;
const QUIET_NAN_BIT = 0x40;

let float16Table: Uint32Array | undefined;

/**
 * Widens bfloat16 codes.
 * @returns a new array of the same length, exactly equal in value
 */
export function bfloat16ToFloat32(codes: Uint16Array): Float32Array<ArrayBuffer> {
  const bits = new Uint32Array(codes.length);
  for (let i = 0; i < codes.length; i++) bits[i] = codes[i] << 16;
  return new Float32Array(bits.buffer);
}

/**
 * Narrows float32 values to bfloat16 codes, rounding to nearest even.
 * @returns a new array of the same length; a NaN keeps its sign and becomes quiet
 */
export function float32ToBfloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const codes = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i];
    // Rounding could carry a NaN's payload into the sign, so a NaN is truncated instead, with one bit forced on.
    codes[i] = (x & ABS_MASK) > INFINITY_BITS
      ? (x >>> 16) | QUIET_NAN_BIT
      : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return codes;
}

/**
 * Widens float16 codes.
 * @returns a new array of the same length, exactly equal in value
 */
export function float16ToFloat32(codes: Uint16Array): Float32Array<ArrayBuffer> {
  const table = float16Table ??= widenEveryCode();
  const bits = new Uint32Array(codes.length);
  for (let i = 0; i < codes.length; i++) bits[i] = table[codes[i]];
  return new Float32Array(bits.buffer);
}

/**
 * Narrows float32 values to float16 codes, rounding to nearest even.
 * @returns a new array of the same length; magnitudes of 65520 and more become infinity
 */
export function float32ToFloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  return new Uint16Array(new Float16Array(values).buffer);
}

/**
 * Reads a tensor's raw bytes as float32.
 * @param dtype F32, F16 or BF16, all exact, or F64, rounded
 * @param what the tensor's name for errors
 * @returns the values; for F32 a view of `bytes` where its alignment allows
 * @throws TypeError for any other dtype
 */
export function bytesToFloat32(
  bytes: Bytes,
  dtype: string,
  what: string,
): Float32Array<ArrayBuffer> {
  const { buffer, byteOffset, length } = aligned(bytes);
  if (dtype === "F32") return new Float32Array(buffer, byteOffset, length / 4);
  if (dtype === "F64") return new Float32Array(new Float64Array(buffer, byteOffset, length / 8));
  const codes = new Uint16Array(buffer, byteOffset, length / 2);
  if (dtype === "BF16") return bfloat16ToFloat32(codes);
  if (dtype === "F16") return float16ToFloat32(codes);
  throw new TypeError(
    `${what}: dtype is ${dtype}; only F32, F16, BF16, F64 can be read as float32`,
  );
}

/**
 * Reads a tensor's raw bytes as int32.
 * @param dtype I32, I64, U8 or BOOL
 * @param what the tensor's name for errors
 * @returns the values; for I32 a view of `bytes` where its alignment allows
 * @throws TypeError for any other dtype, RangeError for an I64 outside int32
 */
export function bytesToInt32(bytes: Bytes, dtype: string, what: string): Int32Array<ArrayBuffer> {
  if (dtype === "U8" || dtype === "BOOL") return new Int32Array(bytes);
  const { buffer, byteOffset, length } = aligned(bytes);
  if (dtype !== "I32" && dtype !== "I64") {
    throw new TypeError(`${what}: dtype is ${dtype}; only I32, I64, U8, BOOL can be read as int32`);
  }
  const words = new Int32Array(buffer, byteOffset, length / 4);
  if (dtype === "I32") return words;
  const values = new Int32Array(words.length / 2);
  for (let i = 0; i < values.length; i++) {
    values[i] = words[2 * i];
    if (words[2 * i + 1] !== values[i] >> 31) {
      const value = new BigInt64Array(buffer, byteOffset, values.length)[i];
      throw new RangeError(`${what}: element ${i} is ${value}; int32 holds -2^31 to 2^31 - 1`);
    }
  }
  return values;
}

/**
 * Widens int32 values.
 * @returns the bytes of as many int64 values
 */
export function int32ToInt64Bytes(values: Int32Array): Bytes {
  const words = new Int32Array(2 * values.length);
  for (let i = 0; i < values.length; i++) {
    words[2 * i] = values[i];
    words[2 * i + 1] = values[i] >> 31;
  }
  return new Uint8Array(words.buffer);
}

/** Typed arrays refuse an offset that is not a multiple of their element; a copy starts at 0. */
function aligned(bytes: Bytes): Bytes {
  return bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
}

/** A table of all 65,536 codes is more than twice as quick as converting through Float16Array each time. */
function widenEveryCode(): Uint32Array {
  const codes = Uint16Array.from({ length: 0x10000 }, (_, code) => code);
  return new Uint32Array(new Float32Array(new Float16Array(codes.buffer)).buffer);
}
