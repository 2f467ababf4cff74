/**
 * The entries of a zip file whose data is stored as it is, read by range: what torch.save writes.
 *
 * The directory at the end is read and checked, and of each entry only what is asked for; files over 4 GiB have their
 * sizes in the zip64 records. Compressed, encrypted and split files are refused.
 *
 * Source: APPNOTE.TXT 6.3.10 of PKWARE, sections 4.3.7 to 4.3.16 and 4.5.3.
 */
import { type Bytes, type ByteSource, malformed, quote } from "./safetensors_header.ts";

/** An entry. */
export interface ZipEntry {
  readonly name: string;
  readonly byteLength: number;
  /** Reads bytes [start, end) of the entry's data. */
  read(start?: number, end?: number): Promise<Bytes>;
}

const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const LONGEST_END = 22 + 0xffff; // the end record with the longest comment
const LARGEST_DIRECTORY = 2 ** 28;

/** Whether bytes are how a zip file begins. */
export function isZip(head: Bytes): boolean {
  return head.length >= 4 && view(head).getUint32(0, true) === LOCAL;
}

/**
 * Reads a zip file's directory.
 * @returns entries by name
 * @throws {SyntaxError} when it is torn, compressed or not a zip file.
 */
export async function openZip(source: ByteSource): Promise<ReadonlyMap<string, ZipEntry>> {
  const { offset, byteLength, count } = await findDirectory(source);
  if (byteLength > LARGEST_DIRECTORY || offset + byteLength > source.byteLength) {
    throw torn(source.name, `its directory of ${byteLength} bytes is not within it`);
  }
  const directory = await source.read(offset, offset + byteLength);
  const entries = new Map<string, ZipEntry>();
  for (let at = 0, i = 0; i < count; i++) {
    if (at + 46 > directory.length || view(directory, at).getUint32(0, true) !== CENTRAL) {
      throw torn(source.name, `entry ${i} of its directory is none`);
    }
    const [entry, length] = readEntry(source, directory.subarray(at), offset);
    if (entries.has(entry.name)) {
      throw malformed(source.name, `entry ${quote(entry.name)} is there twice; names are unique`);
    }
    entries.set(entry.name, entry);
    at += length;
  }
  return entries;
}

async function findDirectory(source: ByteSource) {
  const { byteLength: size } = source;
  const start = Math.max(0, size - LONGEST_END);
  const tail = await source.read(start, size);
  let at = tail.length - 22;
  while (at >= 0 && view(tail, at).getUint32(0, true) !== END) at--;
  if (at < 0) throw torn(source.name, "it has no directory at its end");
  const end = view(tail, at);
  for (const disk of [end.getUint16(4, true), end.getUint16(6, true)]) {
    if (disk === 0 || disk === 0xffff) continue; // all ones: zip64 says it
    throw malformed(source.name, "is one part of a split file; join the parts first");
  }
  const short = {
    count: end.getUint16(10, true),
    byteLength: end.getUint32(12, true),
    offset: end.getUint32(16, true),
  };
  const isLong = short.count === 0xffff || short.byteLength === 0xffffffff ||
    short.offset === 0xffffffff;
  const hasLocator = at >= 20 && view(tail, at - 20).getUint32(0, true) === LOCATOR64;
  if (!isLong || !hasLocator) return short;
  const place = number64(view(tail, at - 20), 8);
  if (place + 56 > size) throw torn(source.name, "its zip64 record is not within it");
  const long = view(await source.read(place, place + 56));
  if (long.getUint32(0, true) !== END64) throw torn(source.name, "it has no zip64 record");
  return { count: number64(long, 32), byteLength: number64(long, 40), offset: number64(long, 48) };
}

/** @returns the entry, and the bytes that it takes in the directory */
function readEntry(
  source: ByteSource,
  bytes: Bytes,
  directoryStart: number,
): readonly [ZipEntry, number] {
  const head = view(bytes);
  const [flags, method] = [head.getUint16(8, true), head.getUint16(10, true)];
  const lengths = [28, 30, 32].map((at) => head.getUint16(at, true));
  const [nameLength, extraLength] = lengths;
  const total = lengths.reduce((sum, length) => sum + length, 46);
  if (total > bytes.length) throw torn(source.name, "its directory ends in an entry");
  const name = new TextDecoder().decode(bytes.subarray(46, 46 + nameLength));
  const extra = bytes.subarray(46 + nameLength, 46 + nameLength + extraLength);
  const [byteLength, packed, local] = sizes64(head, extra);
  const wrong = (what: string) => malformed(source.name, `entry ${quote(name)} ${what}`);
  const cut = (what: string) => torn(source.name, `entry ${quote(name)} ${what}`);
  if ((flags & 1) !== 0) throw wrong("is encrypted; save it without a password");
  if (method !== 0) {
    throw wrong(`is compressed (method ${method}); torch.save stores: unpack and zip it with -0`);
  }
  if (packed !== byteLength) throw cut(`has ${packed} bytes for ${byteLength}`);
  if (local + 30 > directoryStart) throw cut("is not within the file");
  let data: Promise<number> | undefined;
  const findData = async () => {
    const header = view(await source.read(local, local + 30));
    if (header.getUint32(0, true) !== LOCAL) throw cut("has no header");
    const start = local + 30 + header.getUint16(26, true) + header.getUint16(28, true);
    if (start + byteLength > directoryStart) throw cut("is not within the file");
    return start;
  };
  const entry: ZipEntry = {
    name,
    byteLength,
    read: async (start = 0, end = byteLength) => {
      if (start < 0 || end < start || end > byteLength) {
        throw new RangeError(`${source.name}: bytes ${start} to ${end} are not in ${quote(name)}`);
      }
      const begin = await (data ??= findData());
      return await source.read(begin + start, begin + end);
    },
  };
  return [entry, total];
}

/** Length, packed length and place of an entry; those that are all ones stand in the zip64 field, in this order. */
function sizes64(head: DataView, extra: Bytes): number[] {
  const sizes = [24, 20, 42].map((at) => head.getUint32(at, true));
  for (let at = 0; at + 4 <= extra.length;) {
    const field = view(extra, at);
    const length = field.getUint16(2, true);
    if (field.getUint16(0, true) === 1) {
      let next = 4;
      return sizes.map((size) => {
        if (size !== 0xffffffff || next + 8 > 4 + length || at + next + 8 > extra.length) {
          return size;
        }
        next += 8;
        return number64(field, next - 8);
      });
    }
    at += 4 + length;
  }
  return sizes;
}

/** The error of a file that was cut, or written over in part. */
function torn(file: string, what: string): SyntaxError {
  return malformed(file, `no whole zip file: ${what}; copy or fetch it again`);
}

function view(bytes: Bytes, at = 0): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset + at, bytes.byteLength - at);
}

function number64(data: DataView, at: number): number {
  return Number(data.getBigUint64(at, true));
}
