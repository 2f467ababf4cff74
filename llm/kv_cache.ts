/**
 * Append-only key/value cache: one preallocated buffer per layer, in which every row of the batch owns a range of
 * slots that fills from the front. Nothing is overwritten, so chains of latents need no copies, and the same cache
 * serves training (with gradients) and generation. Generation alone may take back a row's last tokens.
 */
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { layoutSegment } from "../ops/attention.ts";
import { offsetsOf, positionsOf, type RowTokens, type Tokens } from "./tokens.ts";

/** New tokens of one row of the cache. */
export interface RowExtension extends RowTokens {
  /** Which row of the cache they belong to. */
  readonly row: number;
}

interface CacheRow {
  readonly slotBegin: number;
  readonly capacity: number;
  length: number;
  /** Visible tokens so far: the next position. */
  seen: number;
}

/** Keys and values of every layer, [slots, kv heads * head size]. */
export class KvCache {
  /** Keys of each layer, after the rotary embedding. */
  readonly keys: Tensor[];
  /** Values of each layer. */
  readonly values: Tensor[];
  readonly numSlots: number;
  #rows: CacheRow[];
  #visible: Uint32Array;

  /**
   * @param scope the cache's lifetime
   * @param model number of layers, and kv heads * head size
   * @param capacities number of slots of each row
   */
  constructor(
    scope: Scope,
    model: { readonly numLayers: number; readonly kvWidth: number },
    capacities: readonly number[],
  ) {
    const begins = offsetsOf(capacities.map((length) => ({ length })));
    this.numSlots = begins[capacities.length];
    this.#visible = new Uint32Array(this.numSlots).fill(1);
    this.#rows = capacities.map((capacity, b) => ({
      slotBegin: begins[b],
      capacity,
      length: 0,
      seen: 0,
    }));
    const make = () => scope.empty([this.numSlots, model.kvWidth]);
    this.keys = Array.from({ length: model.numLayers }, make);
    this.values = Array.from({ length: model.numLayers }, make);
  }

  /** Number of tokens of a row so far. */
  lengthOf(row: number): number {
    return this.#rows[row].length;
  }

  /** Slot of a row's first token. */
  slotOf(row: number): number {
    return this.#rows[row].slotBegin;
  }

  /**
   * Takes back a row's last tokens: the next ones get their slots. Only for generation, where no gradient needs them.
   * @param length number of tokens that stay
   * @throws {RangeError} when the row has fewer.
   */
  truncate(row: number, length: number): void {
    const entry = this.#rows[row];
    if (!(Number.isInteger(length) && length >= 0 && length <= entry.length)) {
      throw new RangeError(
        `key/value cache: row ${row} has ${entry.length} tokens, it cannot be cut to ${length}`,
      );
    }
    const { slotBegin } = entry;
    for (let i = length; i < entry.length; i++) {
      entry.seen -= this.#visible[slotBegin + i];
      this.#visible[slotBegin + i] = 1;
    }
    entry.length = length;
  }

  /**
   * Reserves slots for new tokens, in the order given.
   * @param scope where the tables live: one step's
   * @throws {RangeError} when a row has no room left.
   */
  extend(scope: Scope, extensions: readonly RowExtension[]): Tokens {
    const offsets = offsetsOf(extensions);
    const numTokens = offsets[extensions.length];
    const positions = new Uint32Array(numTokens);
    const rows = extensions.map((extension, i) => {
      const row = this.#rows[extension.row];
      const { length, visible } = extension;
      if (row.length + length > row.capacity) {
        throw new RangeError(
          `key/value cache: row ${extension.row} has ${row.capacity} slots, ${row.length} used; ` +
            `${length} more do not fit`,
        );
      }
      const slotOfFirstQuery = row.slotBegin + row.length;
      if (visible) this.#visible.set(Array.from(visible), slotOfFirstQuery);
      positions.set(positionsOf(extension, row.seen), offsets[i]);
      row.length += length;
      for (let j = 0; j < length; j++) row.seen += visible ? visible[j] : 1;
      const { slotBegin } = row;
      return { queryBegin: offsets[i], queryCount: length, slotBegin, slotOfFirstQuery };
    });
    const layout = layoutSegment(scope, {
      rows,
      numTokens,
      numSlots: this.numSlots,
      visible: this.#visible.includes(0) ? this.#visible : null,
    });
    const positionIds = scope.upload(positions);
    return { numTokens, offsets, positions, positionIds, layout };
  }
}
