/** State dicts as torch.save pickles them, made for tests. */

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
