/**
 * TensorBoard event files: scalars that `tensorboard --logdir=FOLDER` shows as curves.
 *
 * A file is a series of records: u64 length, u32 masked CRC-32C of the length's bytes, the bytes, u32 masked CRC-32C of
 * the bytes (little-endian; TFRecord). The bytes are an Event message: wall_time double #1, step int64 #2, file_version
 * string #3, summary #5 {value #1 {tag string #1, simple_value float #2}}, session_log #7 {status enum #1, START = 1}.
 * The first event tells the version. A file is only ever appended to; a resumed run begins a further file with a
 * session start, upon which TensorBoard drops what earlier files say from that step on.
 *
 * Source: tensorflow/core/util/event.proto, framework/summary.proto, lib/io/record_writer.cc, lib/hash/crc32c.h (Mask).
 */

import { join } from "node:path";
import { AppendFile } from "./atomic.ts";
import type { Bytes } from "./safetensors_header.ts";

/** Where and from when an event file is written. */
export interface EventFileOptions {
  /** Milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
  /** The first step that will be written again: earlier files' events from there on are void. */
  readonly resumeAt?: number;
}

/** An event file of its own in a run's folder. */
export class EventFile implements Disposable {
  #file: AppendFile;
  #now: () => number;

  /**
   * Begins a file whose name sorts after those of earlier ones.
   * @param folder exists
   */
  constructor(folder: string, { now = Date.now, resumeAt }: EventFileOptions = {}) {
    this.#now = now;
    this.#file = new AppendFile(join(folder, nextName(folder, now())));
    this.#write(field(3, "brain.Event:2"));
    const start = varintField(1, 1);
    if (resumeAt !== undefined) this.#write(varintField(2, resumeAt), field(7, start));
  }

  /** The file's path. */
  get path(): string {
    return this.#file.path;
  }

  /**
   * Appends one event with a value per tag, rounded to float32.
   * @throws {RangeError} when the step is no whole number from 0 to 2^53 - 1.
   */
  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const summary = Object.entries(values).map(([tag, value]) =>
      field(1, joined(field(1, tag), floatField(2, value)))
    );
    this.#write(varintField(2, step), field(5, joined(...summary)));
  }

  /** Returns when all events are on the disk. */
  sync(): void {
    this.#file.sync();
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }

  #write(...fields: Bytes[]): void {
    this.#file.append(eventRecord(joined(doubleField(1, this.#now() / 1000), ...fields)));
  }
}

/** TensorBoard takes any name with `tfevents` and reads a folder's files in the order of their names. */
function nextName(folder: string, now: number): string {
  const earlier = [...Deno.readDirSync(folder)]
    .map(({ name }) => Number(/^events\.out\.tfevents\.(\d+)\./.exec(name)?.[1] ?? -1));
  const seconds = Math.max(Math.floor(now / 1000), ...earlier.map((second) => second + 1));
  return `events.out.tfevents.${String(seconds).padStart(10, "0")}.colar`;
}

/** Frames an event's bytes as a record: length, its check, bytes, their check. */
export function eventRecord(bytes: Bytes): Bytes {
  const record = new Uint8Array(16 + bytes.length);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(bytes.length), true);
  view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true);
  record.set(bytes, 12);
  view.setUint32(12 + bytes.length, maskedCrc32c(bytes), true);
  return record;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), an unsigned 32-bit number. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** The CRC as records store it: rotated and shifted, so that a record within a record is told apart. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

const VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5; // wire types of Protocol Buffers

function joined(...parts: Bytes[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function varint(value: number): Bytes {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`event file: step must be a whole number >= 0, got ${value}`);
  }
  const bytes: number[] = [];
  for (let rest = value; bytes.length === 0 || rest > 0; rest = Math.floor(rest / 128)) {
    bytes.push(rest % 128 + (rest >= 128 ? 128 : 0));
  }
  return Uint8Array.from(bytes);
}

function key(number: number, wireType: number): Bytes {
  return varint(number * 8 + wireType);
}

function varintField(number: number, value: number): Bytes {
  return joined(key(number, VARINT), varint(value));
}

function field(number: number, value: string | Bytes): Bytes {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  return joined(key(number, DELIMITED), varint(bytes.length), bytes);
}

function doubleField(number: number, value: number): Bytes {
  return joined(key(number, FIXED64), new Uint8Array(Float64Array.of(value).buffer));
}

function floatField(number: number, value: number): Bytes {
  return joined(key(number, FIXED32), new Uint8Array(Float32Array.of(value).buffer));
}
