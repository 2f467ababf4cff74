/** State dicts as torch.save pickles them, made for tests. */
import { zipOf } from "./zip_file.ts";

/** The bytes of a file that torch.save would write of a state dict of float32 tensors. */
export function torchFile(
  tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>,
): Uint8Array<ArrayBuffer> {
  const int = (n: number) =>
    `J${String.fromCharCode(n & 255, n >> 8 & 255, n >> 16 & 255, n >> 24 & 255)}`;
  const text = (s: string) => `X${int(s.length).slice(1)}${s}`;
  const tuple = (values: readonly number[]) => `(${values.map(int).join("")}t`;
  const storages: Record<string, Uint8Array> = {};
  const items = [...tensors].map(([name, { shape, data }], i) => {
    storages[`x/data/${i}`] = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
    return `${text(name)}ctorch._utils\n_rebuild_tensor_v2\n((${
      text("storage")
    }ctorch\nFloatStorage\n` +
      `${text(String(i))}${text("cpu")}${int(data.length)}tQK\0${tuple(shape)}${tuple(strides)}` +
      "\x89ccollections\nOrderedDict\n)RtR";
  });
  const pickle = `\x80\x02}(${items.join("")}u.`;
  const bytes = Uint8Array.from(pickle, (c) => c.charCodeAt(0));
  return zipOf({ "x/data.pkl": bytes, ...storages });
}

/** A pickle of {name: tensor} whose parts can be changed; protocol 2, one storage "0". */
export function stateDictPickle(
  { name = "w", storage = "FloatStorage", numbers = 4, shape = [2, 2], strides = [2, 1] },
) {
  const byte = (n: number) => String.fromCharCode(n);
  const text = (s: string) => `X${byte(s.length)}\0\0\0${s}`;
  const tuple = (values: number[]) => `(${values.map((n) => `K${byte(n)}`).join("")}t`;
  const pickle = `\x80\x02}${text(name)}ctorch._utils\n_rebuild_tensor_v2\n((${text("storage")}` +
    `ctorch\n${storage}\n${text("0")}${text("cpu")}K${byte(numbers)}tQK\0${tuple(shape)}` +
    `${tuple(strides)}\x89ccollections\nOrderedDict\n)RtRs.`;
  return Uint8Array.from(pickle, (c) => c.charCodeAt(0));
}
