/**
 * TensorBoard event files: the check sum, the bytes, and a parser of its own that reads them back.
 *
 * REFERENCE is what the Python package tensorboard 2.21.0 (RecordWriter, event_pb2; protobuf 7.36.2) wrote for the events
 * of the test that compares with it.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { crc32c, EventFile, eventRecord, maskedCrc32c } from "../../io/tensorboard.ts";

const REFERENCE = "1800000000000000a37f4b22" +
  "0900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9" +
  "0f000000000000006d532b09" +
  "0900001040fc54d94110653a02080159da2f78" +
  "2f000000000000006d5d1d50" +
  "0900001040fc54d9411085808080202a1e0a110a0a747261696e2f6c6f737315000020400a090a02c3a4150000807f" +
  "4830276e";

/** An event as the parser finds it. */
interface Event {
  wallTime?: number;
  step?: number;
  version?: string;
  status?: number;
  scalars: [string, number][];
}

/** Splits a message into [field number, value]: numbers for varints, else views of the bytes. */
function* fields(bytes: Uint8Array): Generator<[number, number | DataView]> {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1;; scale *= 128) {
      value += (bytes[at] & 127) * scale;
      if (bytes[at++] < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const type = key % 8;
    if (type === 0) {
      yield [Math.floor(key / 8), varint()];
      continue;
    }
    const length = { 1: 8, 2: -1, 5: 4 }[type];
    assert.ok(length, `wire type ${type}`);
    const size = length > 0 ? length : varint();
    assert.ok(at + size <= bytes.length);
    yield [Math.floor(key / 8), new DataView(bytes.buffer, bytes.byteOffset + at, size)];
    at += size;
  }
}

const bytesOf = (value: number | DataView) => {
  assert.ok(typeof value === "object");
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
};
const textOf = (value: number | DataView) => new TextDecoder().decode(bytesOf(value));

function parseEvent(bytes: Uint8Array): Event {
  const event: Event = { scalars: [] };
  for (const [number, value] of fields(bytes)) {
    if (number === 1) event.wallTime = (value as DataView).getFloat64(0, true);
    else if (number === 2) event.step = value as number;
    else if (number === 3) event.version = textOf(value);
    else if (number === 7) {
      for (const [, status] of fields(bytesOf(value))) event.status = status as number;
    } else if (number === 5) {
      for (const [, scalar] of fields(bytesOf(value))) {
        const parts = new Map(fields(bytesOf(scalar)));
        event.scalars.push([textOf(parts.get(1)!), (parts.get(2) as DataView).getFloat32(0, true)]);
      }
    } else assert.fail(`field ${number}`);
  }
  return event;
}

/** Every event of a file, its checks compared. */
function parseFile(path: string): Event[] {
  const bytes = Deno.readFileSync(path);
  const view = new DataView(bytes.buffer);
  const events: Event[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(view.getBigUint64(at, true));
    assert.equal(view.getUint32(at + 8, true), maskedCrc32c(bytes.subarray(at, at + 8)));
    const content = bytes.subarray(at + 12, at + 12 + length);
    assert.equal(view.getUint32(at + 12 + length, true), maskedCrc32c(content));
    events.push(parseEvent(content));
    at += 16 + length;
  }
  return events;
}

function inFolder(test: (folder: string) => void): void {
  const folder = Deno.makeTempDirSync();
  try {
    test(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("crc32c gives the published values", () => {
  // RFC 3720, appendix B.4, and the check value of the Castagnoli polynomial.
  assert.equal(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
  assert.equal(crc32c(new Uint8Array(0)), 0);
});

Deno.test("event files have the bytes that Python's tensorboard writes", () => {
  inFolder((folder) => {
    using file = new EventFile(folder, { now: () => 1700000000250, resumeAt: 101 });
    file.scalars(2 ** 33 + 5, { "train/loss": 2.5, "ä": Infinity });
    assert.equal(Deno.readFileSync(file.path).toHex(), REFERENCE);
  });
});

Deno.test("event files read back while they grow", () => {
  inFolder((folder) => {
    let time = 1_700_000_000_000;
    using file = new EventFile(folder, { now: () => time += 500 });
    const expected: Event[] = [
      { wallTime: 1_700_000_001, version: "brain.Event:2", scalars: [] },
    ];
    for (const step of [0, 1, 127, 128, 300, 2 ** 31, Number.MAX_SAFE_INTEGER]) {
      file.scalars(step, { loss: 1 / (step + 1), lr: 1e-4 });
      const scalars: [string, number][] = [
        ["loss", Math.fround(1 / (step + 1))],
        ["lr", Math.fround(1e-4)],
      ];
      expected.push({ wallTime: time / 1000, step, scalars });
      assert.deepEqual(parseFile(file.path), expected);
    }
    file.scalars(1, { nan: NaN });
    assert.deepEqual(parseFile(file.path).at(-1)?.scalars, [["nan", NaN]]);
    file.sync();
  });
});

Deno.test("event files of one folder are read in the order they were begun", () => {
  inFolder((folder) => {
    const names: string[] = [];
    for (const now of [1_700_000_000_000, 1_700_000_000_900, 1_600_000_000_000]) {
      using file = new EventFile(folder, { now: () => now, resumeAt: 11 });
      names.push(file.path);
      assert.deepEqual(parseFile(file.path).map(({ step, status }) => [step, status]), [
        [undefined, undefined],
        [11, 1],
      ]);
    }
    assert.deepEqual(names, [...new Set(names)].sort());
    assert.equal(names[0], join(folder, "events.out.tfevents.1700000000.colar"));
  });
});

Deno.test("event files refuse a step that is no whole number, and stay whole", () => {
  inFolder((folder) => {
    using file = new EventFile(folder);
    for (const step of [-1, 0.5, NaN, 2 ** 53]) {
      assert.throws(() => file.scalars(step, { a: 1 }), {
        name: "RangeError",
        message: `event file: step must be a whole number >= 0, got ${step}`,
      });
    }
    assert.equal(parseFile(file.path).length, 1);
  });
});

Deno.test("event records: the parser notices any changed byte", () => {
  const record = eventRecord(Uint8Array.of(16, 1));
  inFolder((folder) => {
    const path = join(folder, "events");
    for (let i = 0; i < record.length; i++) {
      Deno.writeFileSync(path, record.with(i, record[i] ^ 4));
      assert.throws(() => parseFile(path));
    }
  });
});
