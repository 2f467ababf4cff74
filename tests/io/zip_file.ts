/** Zip files with stored entries, made for tests. */

/** Bytes of a zip file; `before` moves every place by as many bytes, `zip64` writes the long records. */
export function zipOf(
  files: Readonly<Record<string, string | Uint8Array>>,
  { zip64 = false, before = 0 } = {},
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let length = 0;
  const add = (...numbers: (readonly [number, 2 | 4 | 8])[]) => {
    const bytes = new Uint8Array(numbers.reduce((sum, [, width]) => sum + width, 0));
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (const [value, width] of numbers) {
      if (width === 2) view.setUint16(at, value, true);
      if (width === 4) view.setUint32(at, value, true);
      if (width === 8) view.setBigUint64(at, BigInt(value), true);
      at += width;
    }
    put(bytes);
  };
  const put = (bytes: Uint8Array) => {
    parts.push(bytes);
    length += bytes.length;
  };
  const encoder = new TextEncoder();
  const entries = Object.entries(files).map(([name, content]) => {
    const data = typeof content === "string" ? encoder.encode(content) : content;
    const place = before + length;
    const label = encoder.encode(name);
    add([0x04034b50, 4], [20, 2], [0, 2], [0, 2], [0, 4], [0, 4], [data.length, 4]);
    add([data.length, 4], [label.length, 2], [3, 2]);
    put(label);
    put(new Uint8Array(3)); // padding, as torch.save aligns its storages
    put(data);
    return { label, size: data.length, place };
  });
  const start = before + length;
  for (const { label, size, place } of entries) {
    const short = (value: number) => zip64 ? 0xffffffff : value;
    add([0x02014b50, 4], [20, 2], [20, 2], [0, 2], [0, 2], [0, 4], [0, 4], [short(size), 4]);
    add([short(size), 4], [label.length, 2], [zip64 ? 28 : 0, 2], [0, 2], [0, 2], [0, 2], [0, 4]);
    add([short(place), 4]);
    put(label);
    if (zip64) add([1, 2], [24, 2], [size, 8], [size, 8], [place, 8]);
  }
  const directory = before + length - start;
  if (zip64) {
    const at = before + length;
    add([0x06064b50, 4], [44, 8], [45, 2], [45, 2], [0, 4], [0, 4], [entries.length, 8]);
    add([entries.length, 8], [directory, 8], [start, 8]);
    add([0x07064b50, 4], [0, 4], [at, 8], [1, 4]);
  }
  const count = zip64 ? 0xffff : entries.length;
  add([0x06054b50, 4], [0, 2], [0, 2], [count, 2], [count, 2]);
  add([zip64 ? 0xffffffff : directory, 4], [zip64 ? 0xffffffff : start, 4], [0, 2]);
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
