/**
 * The embedding row of [PAD]. The methods add this token to every tokenizer; a checkpoint has no row for it.
 *
 * A table with one row too few grows by a row N(0, initializer_range), and so does an untied head. A table with spare
 * rows (DeepSeek-R1-Distill-Qwen) is cut to the tokenizer's size, and [PAD] takes the row that it finds.
 *
 * With `mean` the new row is the mean of the others, as later versions of transformers begin (less their noise).
 *
 * Source: the published CoLaR code (models/model_base.py), transformers 4.45 (resize_token_embeddings).
 *
 * **Deviations.** The published row depends on PyTorch's generator; here it depends on the seed alone.
 */
import type { Tokenizer } from "../data/prompt.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone } from "../llm/backbone.ts";
import type { WeightData } from "../llm/weights.ts";
import { normalOf, rowKey } from "../ops/random.ts";
import { STREAMS } from "./draws.ts";

/** Rows that a run was made with: of the embedding table and, where it is another tensor, of the head. */
export interface PadRows {
  /** [D] */
  readonly row: Float32Array;
  /** [D]; for an untied head. */
  readonly headRow?: Float32Array;
}

/**
 * Gives a backbone's tables one row for each token of the tokenizer. Call it once, before anything is trained.
 * @param seed keys the new row
 * @param given the rows to append instead of drawn ones, or `mean` for the mean of the others
 * @throws {RangeError} when the tables do not fit the tokenizer, {TypeError} when they are trained already.
 */
export async function addPadRow(
  backbone: Backbone,
  tokenizer: Pick<Tokenizer, "padRow" | "size">,
  seed: number,
  given: PadRows | "drawn" | "mean" = "drawn",
): Promise<void> {
  const { embeddings, head } = backbone;
  const action = tokenizer.padRow(embeddings.shape[0]);
  const tables = head === embeddings ? [embeddings] : [embeddings, head];
  for (const [i, table] of tables.entries()) {
    if (table.gradient) throw new TypeError(`${table} is trained already: add [PAD]'s row first`);
    if (action === "existing" && table.shape[0] === tokenizer.size) continue;
    const rows = typeof given === "string" ? undefined : given;
    const row = given === "mean"
      ? await meanRow(backbone, table)
      : (i === 0 ? rows?.row : rows?.headRow) ?? drawRow(backbone, seed, i);
    await resize(backbone, table, tokenizer.size, row);
  }
}

/** @returns [D] numbers N(0, initializer_range) */
function drawRow({ config, hiddenSize }: Backbone, seed: number, table: number): Float32Array {
  const key = rowKey(seed, STREAMS.padRow, table, 0);
  return Float32Array.from(
    { length: hiddenSize },
    (_, i) => config.initializer_range * normalOf(key, i),
  );
}

/** @returns [D], the mean of a table's rows */
async function meanRow({ weights: { gpu } }: Backbone, table: Tensor): Promise<Float32Array> {
  const [rows, dim] = table.shape;
  const numbers = await gpu.readback(table).data() as WeightData;
  const isBf16 = numbers instanceof Uint16Array;
  const mean = new Float64Array(dim);
  const bits = new Uint32Array(1);
  const widened = new Float32Array(bits.buffer); // of a bf16 number, the upper half of a float32
  for (let i = 0; i < numbers.length; i++) {
    bits[0] = numbers[i] << 16;
    mean[i % dim] += (isBf16 ? widened[0] : numbers[i]) / rows;
  }
  return Float32Array.from(mean);
}

/** Cuts a table to `size` rows, or appends the one that is missing. */
async function resize(
  { weights }: Backbone,
  table: Tensor,
  size: number,
  row: Float32Array,
): Promise<void> {
  const dim = table.shape[1];
  if (row.length !== dim) {
    throw new TypeError(`[PAD]'s row has ${row.length} numbers; ${table} needs ${dim}`);
  }
  const old = await weights.gpu.readback(table).data() as WeightData;
  const data = zerosLike(old, size * dim);
  data.set(old.subarray(0, size * dim));
  if (table.shape[0] < size) data.set(old instanceof Uint16Array ? toBf16(row) : row, old.length);
  weights.replace(table.name, data, [size, dim]);
}

function zerosLike(data: WeightData, length: number): WeightData {
  if (data instanceof Float32Array) return new Float32Array(length);
  return data instanceof Float16Array ? new Float16Array(length) : new Uint16Array(length);
}

/** The upper halves of float32 numbers, rounded to the nearest, ties to even. */
function toBf16(numbers: Float32Array): Uint16Array {
  const bits = new Uint32Array(Float32Array.from(numbers).buffer);
  return Uint16Array.from(bits, (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16);
}
