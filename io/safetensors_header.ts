/**
 * The header of a safetensors file, read and written: names, dtypes, shapes and places of the tensors.
 *
 * Everything that a hostile or torn header can say is refused here, before any data is read; see safetensors.ts for
 * the format and its source.
 */

import { Buffer } from "node:buffer";
import { refuseLfsPointer } from "./lfs_pointer.ts";

const MAX_HEADER_BYTES = 100_000_000;
const MAX_QUOTED_CHARACTERS = 100;

/** In the order in which the reference library ranks them; the writer goes from last to first. */
export const DTYPES = ("BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ " +
  "I16 U16 F16 BF16 I32 U32 F32 C64 F64 I64 U64").split(" ");
/** The first number in a dtype's name is its bits; BOOL takes a byte. */
const ELEMENT_BYTES = new Map(DTYPES.map((dtype) => [dtype, Number(/\d+/.exec(dtype) ?? 8) / 8]));

/** Bytes that own their memory, as WebGPU takes them. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** Something of known length whose bytes can be read by range: a file, memory, a remote file. */
export interface ByteSource {
  /** What error messages call it. */
  readonly name: string;
  readonly byteLength: number;
  /** Reads bytes [start, end); calls may overlap in time; the caller owns the result. */
  read(start: number, end: number): Promise<Bytes>;
}

/** A tensor as the header describes it. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** A tensor to write; 16-bit floats are raw codes (float16.ts makes them), I64 is widened from int32. */
export type TensorData =
  & { readonly shape: readonly number[] }
  & (
    | { readonly dtype: "F32"; readonly data: Float32Array<ArrayBuffer> }
    | { readonly dtype: "F16" | "BF16"; readonly data: Uint16Array<ArrayBuffer> }
    | { readonly dtype: "I32" | "I64"; readonly data: Int32Array<ArrayBuffer> }
    | { readonly dtype: "U8"; readonly data: Bytes }
  );

/** Where a tensor's bytes are. */
export interface Place {
  readonly info: TensorInfo;
  readonly source: ByteSource;
  readonly start: number;
}

/** What a header says. */
export interface Contents {
  readonly places: Map<string, Place>;
  readonly metadata: Map<string, string>;
}

/** Reads and checks the header of a source. @throws SyntaxError if it is malformed, TypeError for a pointer of Git LFS */
export async function readContents(source: ByteSource): Promise<Contents> {
  const { name: file, byteLength } = source;
  if (byteLength < 8) throw damaged(file, `${byteLength} bytes long; the format needs 8 or more`);
  const prefix = await source.read(0, 8);
  const length = Number(new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true));
  const header = `header length ${length}`;
  if (length === 0) throw damaged(file, `${header}; it must be at least 2`);
  if (length > MAX_HEADER_BYTES) {
    refuseLfsPointer(prefix, file); // text, read as a length of 2.3e18
    throw damaged(file, `${header} is larger than the limit, 100 MB`);
  }
  const dataStart = 8 + length;
  if (dataStart > byteLength) {
    throw damaged(file, `${header} is larger than the file, ${byteLength} bytes`);
  }
  const entries = parseObject(headerText(await source.read(8, dataStart), file), file);
  const metadata = new Map<string, string>();
  const found: Place[] = [];
  for (const [name, entry] of Object.entries(entries)) {
    if (name !== "__metadata__") found.push(parseEntry(name, entry, source, dataStart));
    else {for (const [key, value] of stringEntries(entry, "__metadata__", file)) {
        metadata.set(key, value);
      }}
  }
  return { places: checkCoverage(found, source, dataStart), metadata };
}

function headerText(bytes: Bytes, file: string): string {
  if (bytes[0] !== 0x7b) {
    throw damaged(file, `header starts with byte ${bytes[0]}; it must start with {`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw damaged(file, "header is not UTF-8");
  }
}

/** Parses a JSON object without repeated keys. @throws SyntaxError naming the file */
export function parseObject(json: string, file: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw malformed(file, `not JSON: ${quote(error instanceof Error ? error.message : error)}`);
  }
  if (!isRecord(value)) throw malformed(file, `${quote(value)} is not a JSON object`);
  const repeated = repeatedKey(json);
  if (repeated !== undefined) {
    throw malformed(file, `duplicate name ${quote(repeated)}; names are unique`);
  }
  return value;
}

/** JSON.parse keeps the last of equal keys, so this walks JSON known to be valid; deeper keys are never read. */
function repeatedKey(json: string): string | undefined {
  const keys = [new Set<string>(), new Set<string>()];
  let depth = 0;
  for (let i = 0; i < json.length; i++) {
    if (json[i] === "{") keys[depth++]?.clear();
    else if (json[i] === "}") depth--;
    else if (json[i] === '"') {
      const start = i++;
      for (; json[i] !== '"'; i++) if (json[i] === "\\") i++;
      let next = i + 1;
      while (" \t\r\n".includes(json[next])) next++;
      if (json[next] !== ":" || depth > keys.length) continue;
      const key: string = JSON.parse(json.slice(start, i + 1));
      if (keys[depth - 1].has(key)) return key;
      keys[depth - 1].add(key);
    }
  }
  return undefined;
}

function parseEntry(name: string, entry: unknown, source: ByteSource, dataStart: number): Place {
  const wrong = (what: string) => malformed(source.name, `tensor ${quote(name)}: ${what}`);
  if (!isRecord(entry)) throw wrong(`is ${quote(entry)}; it must be an object`);
  const { dtype, shape, data_offsets: offsets, ...others } = entry;
  for (const key of ["dtype", "shape", "data_offsets"]) {
    if (!Object.hasOwn(entry, key)) throw wrong(`has no ${key}`);
  }
  for (const key of Object.keys(others)) throw wrong(`has the unknown key ${quote(key)}`);
  if (typeof dtype !== "string") throw wrong(`dtype is ${quote(dtype)}; it must be a string`);
  const elementBytes = ELEMENT_BYTES.get(dtype);
  if (!elementBytes) throw wrong(`unknown dtype ${quote(dtype)}; known are ${DTYPES.join(", ")}`);
  const sizes = (value: unknown, key: string): number[] => {
    if (!Array.isArray(value)) throw wrong(`${key} is ${quote(value)}; it must be a list`);
    const bad = value.findIndex((size) => !isSize(size));
    if (bad < 0) return value;
    throw wrong(`${key} holds ${quote(value[bad])}; it takes integers from 0 to 2^53 - 1`);
  };
  const dims = sizes(shape, "shape");
  const range = sizes(offsets, "data_offsets");
  const list = quote(dims.join());
  let byteLength = elementBytes;
  for (const dim of dims) {
    if (!isSize(byteLength *= dim)) throw wrong(`${dtype} of shape ${list} exceeds 2^53 - 1 bytes`);
  }
  const [start, end] = range;
  const span = `data_offsets ${quote(range.join())}`;
  if (range.length !== 2) throw wrong(`${span} must be two numbers, start and end`);
  if (end < start) throw wrong(`${span} are reversed; start comes first`);
  const available = source.byteLength - dataStart;
  if (end > available) {
    const what = `tensor ${quote(name)}: ${span} are out of range; the data has ${available} bytes`;
    throw damaged(source.name, what);
  }
  if (end - start !== byteLength) {
    throw wrong(`${span} span ${end - start} bytes; ${dtype} of shape ${list} takes ${byteLength}`);
  }
  return { info: { name, dtype, shape: dims, byteLength }, source, start: dataStart + start };
}

function checkCoverage(found: Place[], source: ByteSource, dataStart: number): Map<string, Place> {
  found.sort((a, b) => a.start - b.start || a.info.byteLength - b.info.byteLength);
  let end = dataStart;
  let before = "the header";
  for (const { info, start } of found) {
    const after = quote(info.name);
    if (start < end) throw damaged(source.name, `tensors ${before} and ${after} overlap`);
    if (start > end) {
      throw damaged(source.name, `hole of ${start - end} bytes between ${before} and ${after}`);
    }
    end = start + info.byteLength;
    before = after;
  }
  const rest = source.byteLength - end;
  if (rest > 0) {
    throw damaged(source.name, `${rest} trailing bytes after ${before}; none may follow`);
  }
  return new Map(found.map((place) => [place.info.name, place]));
}

/** The entries of an object whose values are strings. @throws SyntaxError naming the file */
export function stringEntries(value: unknown, key: string, file: string): [string, string][] {
  if (!isRecord(value)) throw malformed(file, `${key} is ${quote(value)}; it must be an object`);
  return Object.entries(value).map(([name, text]) => {
    if (typeof text === "string") return [name, text];
    throw malformed(file, `${key} ${quote(name)} is ${quote(text)}; its values are strings`);
  });
}

/** The header, length and padding included, of tensors in the order of their data. */
export function encodeHeader(
  tensors: readonly [string, TensorData][],
  metadata?: ReadonlyMap<string, string>,
): Bytes {
  const fields: string[] = [];
  if (metadata) {
    const sorted = [...metadata].sort(([a], [b]) => compareUtf8(a, b));
    const strings = sorted.map(([key, value]) => `${jsonString(key)}:${jsonString(value)}`);
    fields.push(`"__metadata__":{${strings.join()}}`);
  }
  let start = 0;
  for (const [name, { dtype, shape, data }] of tensors) {
    if (name === "__metadata__") throw new RangeError(`tensor name ${name} is reserved; rename it`);
    const count = shape.every(isSize) ? shape.reduce((product, dim) => product * dim, 1) : NaN;
    if (count !== data.length) {
      const rule = `shape [${shape}] must match its ${data.length} values`;
      throw new TypeError(`tensor ${quote(name)}: ${rule}`);
    }
    const end = start + count * ELEMENT_BYTES.get(dtype)!;
    const place = `"shape":[${shape.join()}],"data_offsets":[${start},${end}]`;
    fields.push(`${jsonString(name)}:{"dtype":"${dtype}",${place}}`);
    start = end;
  }
  const json = new TextEncoder().encode(`{${fields.join()}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, 8);
  return header;
}

/** The error of a file that was cut or written by no library of the format. */
function damaged(file: string, what: string): SyntaxError {
  return malformed(file, `${what}; fetch or save the file again`);
}

/** The error of a malformed file. */
export function malformed(file: string, what: string): SyntaxError {
  return new SyntaxError(`${file}: ${what}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether a value is a size: an integer from 0 to 2^53 - 1. */
export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

/** Makes any parsed value fit on one line; nested values are not walked, since their depth is the file's choice. */
export function quote(value: unknown): string {
  if (typeof value === "object" && value !== null) {
    return Array.isArray(value) ? "a list" : "an object";
  }
  const line = String(JSON.stringify(value)).replace(/[\u007f-\u009f\u2028\u2029]/g, "?");
  return line.length > MAX_QUOTED_CHARACTERS ? `${line.slice(0, MAX_QUOTED_CHARACTERS)}...` : line;
}

function jsonString(text: string): string {
  if (text.isWellFormed()) return JSON.stringify(text);
  throw new RangeError(`${quote(text)} holds half a surrogate pair; names and metadata are UTF-8`);
}

/** Orders names as their UTF-8 bytes, as the reference library does. */
export function compareUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
