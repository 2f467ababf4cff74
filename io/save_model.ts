/**
 * A model to a folder in Hub layout: config.json, model.safetensors or its shards, and the tokenizer's files.
 *
 * The tokenizer goes with `[PAD]`, which the model's table then has a row for.
 */
import { dirname, join, resolve } from "node:path";
import type { Weights } from "../llm/weights.ts";
import { exists, replaceFolder, writeAtomic } from "./atomic.ts";
import type { CheckpointTensor } from "./checkpoint.ts";
import { type TensorData, writeSafetensors } from "./safetensors.ts";
import { quote } from "./safetensors_header.ts";
import { PAD, type Tokenizer } from "./tokenizer.ts";
import { readTokenizerFiles, TOKENIZER, TOKENIZER_CONFIG } from "./tokenizer_files.ts";

const SHARD_BYTES = 4 * 2 ** 30; // what is in this program's memory at once; transformers' own limit is 5 GB
const METADATA = new Map([["format", "pt"]]);

/**
 * Writes a folder that `loadModel` and transformers read.
 * @param folder made if absent
 * @param config what config.json is to hold
 * @param weights under their names as the architecture's files have them; what is kept in 16 bits stays so, the rest is f32
 * @param shardBytes the most that one file holds, unless one tensor is larger. @default 4 GiB
 */
export async function saveModel(
  folder: string,
  config: Readonly<Record<string, unknown>>,
  weights: Weights,
  shardBytes = SHARD_BYTES,
): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const shards = shardsOf(weights, shardBytes);
  const isSingle = shards.length === 1;
  const weight_map: Record<string, string> = {};
  for (const [i, names] of shards.entries()) {
    const number = (n: number) => String(n).padStart(5, "0");
    const file = isSingle
      ? "model.safetensors"
      : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    const tensors = new Map<string, TensorData>();
    for (const name of names) tensors.set(name, await tensorOf(weights, name));
    await writeSafetensors(join(folder, file), tensors, METADATA);
    for (const name of names) weight_map[name] = file;
  }
  if (!isSingle) {
    const total_size = [...weights.entries.values()].reduce((sum, t) => sum + t.byteLength, 0);
    await writeJson(join(folder, "model.safetensors.index.json"), {
      metadata: { total_size },
      weight_map,
    });
  }
  await writeJson(join(folder, "config.json"), config);
}

/**
 * Makes a folder as a whole: it is there when everything in it is.
 * @param fill writes into the folder that it is given
 * @throws {RangeError} when there is something of that name already.
 */
export async function newFolder(
  path: string,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  if (await exists(path)) {
    throw new RangeError(`${quote(path)} is there already; name a new folder with --out`);
  }
  const whole = resolve(path);
  await Deno.mkdir(dirname(whole), { recursive: true });
  await replaceFolder(whole, fill);
}

/** Writes float32 tensors. */
export async function saveTensors(
  path: string,
  tensors: ReadonlyMap<string, CheckpointTensor>,
): Promise<void> {
  const data = [...tensors].map(([name, { shape, data }]): [string, TensorData] => [
    name,
    { dtype: "F32", shape, data: data as Float32Array<ArrayBuffer> },
  ]);
  await writeSafetensors(path, new Map(data), METADATA);
}

/**
 * Copies a tokenizer's files, with `[PAD]` in them as the token that fills rows; special_tokens_map.json's tokens and
 * what the class says stand in tokenizer_config.json, which is all that the copy needs.
 * @param tokenizer what `loadTokenizer` made of the folder `from`: its added tokens keep their ids
 * @throws {TypeError} for a missing file or one that is not JSON.
 */
export async function saveTokenizer(
  from: string,
  to: string,
  { padId, addedTokens }: Pick<Tokenizer, "padId" | "addedTokens">,
): Promise<void> {
  const { json, config: settings } = await readTokenizerFiles(from);
  const whole = { ...json as Record<string, unknown>, added_tokens: addedTokens };
  const config = { ...settings as Record<string, unknown> };
  const decoder = (config.added_tokens_decoder ?? {}) as Record<string, unknown>;
  const { id: _, ...token } = addedTokens.find(({ id }) => id === padId)!;
  config.added_tokens_decoder = { ...decoder, [padId]: token };
  config.pad_token = PAD;
  await writeJson(join(to, TOKENIZER), whole);
  await writeJson(join(to, TOKENIZER_CONFIG), config);
  for (const name of ["generation_config.json", "chat_template.jinja"]) {
    if (!await exists(join(from, name))) continue;
    await writeAtomic(join(to, name), [await Deno.readFile(join(from, name))]);
  }
}

/** Names by shard, in the architecture's order. */
function shardsOf(weights: Weights, shardBytes: number): string[][] {
  const shards: string[][] = [[]];
  let bytes = 0;
  for (const [name, { byteLength }] of weights.entries) {
    if (bytes > 0 && bytes + byteLength > shardBytes) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(name);
    bytes += byteLength;
  }
  return shards;
}

async function tensorOf(weights: Weights, name: string): Promise<TensorData> {
  const shape = weights.fileShape(name);
  const data = await weights.readStored(name);
  if (data instanceof Float32Array) {
    return { dtype: "F32", shape, data: data as Float32Array<ArrayBuffer> };
  }
  const words = new Uint16Array(data.buffer as ArrayBuffer, data.byteOffset, data.length);
  return { dtype: data instanceof Float16Array ? "F16" : "BF16", shape, data: words };
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
}
