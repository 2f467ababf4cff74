/**
 * Which keys each query of an attention call sees, as tables on the device: made once per step, used by every layer.
 *
 * The rows of a call are laid end to end, without pads; a row's keys lie in consecutive slots of the key/value cache,
 * and a query sees the visible slots from its row's first to its own. Work is cut into tiles: consecutive queries of
 * one row (forward and query gradient) or consecutive slots of one row (key and value gradient).
 */
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";

/** One row (sequence) of a segment: which of the new tokens are its, and where its keys lie. */
export interface SegmentRow {
  /** Its first token among the new ones. */
  readonly queryBegin: number;
  /** How many new tokens it has. */
  readonly queryCount: number;
  /** Its first slot in the cache. */
  readonly slotBegin: number;
  /** The slot of its first new token; the row's later tokens follow. */
  readonly slotOfFirstQuery: number;
}

/** New tokens of some rows, and which keys they see. */
export interface Segment {
  /** The rows, laid end to end: every new token belongs to exactly one. */
  readonly rows: readonly SegmentRow[];
  /** N, the number of new tokens. */
  readonly numTokens: number;
  /** S, the number of slots of the cache. */
  readonly numSlots: number;
  /** [S]: 1 where a slot's key is visible, 0 where no query sees it, its own included; null: all are visible. */
  readonly visible: Uint32Array | null;
}

/**
 * The segment of whole rows that serve as their own cache: slots are token numbers.
 * @param lengths number of tokens of each row
 * @param visible [N], see {@link Segment}
 */
export function wholeRows(
  lengths: readonly number[],
  visible: Uint32Array | null = null,
): Segment {
  let begin = 0;
  const rows = lengths.map((queryCount) => {
    const row = { queryBegin: begin, queryCount, slotBegin: begin, slotOfFirstQuery: begin };
    begin += queryCount;
    return row;
  });
  return { rows, numTokens: begin, numSlots: begin, visible };
}

/** A segment's tables on the device; see {@link layoutSegment}. */
export class AttentionLayout {
  /** [N] u32: the slot of each token. */
  readonly slots: Tensor;
  /** [S] u32, or `slots` as a stand-in that nobody reads when all keys are visible. */
  readonly visible: Tensor;
  /** Whether some keys are hidden. */
  readonly masked: boolean;
  /** Whether the rows' slots are all slots of the cache. */
  readonly coversAllSlots: boolean;
  /** The most new tokens of a row. */
  readonly longest: number;
  #tables = new Map<string, Tensor>();

  constructor(readonly segment: Segment, readonly scope: Scope) {
    checkSegment(segment);
    const slots = new Uint32Array(segment.numTokens);
    let covered = 0;
    let longest = 0;
    for (const row of segment.rows) {
      for (let i = 0; i < row.queryCount; i++) slots[row.queryBegin + i] = row.slotOfFirstQuery + i;
      if (row.queryCount > 0) covered += endSlot(row) - row.slotBegin;
      longest = Math.max(longest, row.queryCount);
    }
    this.longest = longest;
    this.coversAllSlots = covered === segment.numSlots;
    this.masked = segment.visible?.includes(0) ?? false;
    this.slots = scope.upload(slots, [slots.length], "slots");
    this.visible = this.masked
      ? scope.upload(segment.visible!, [segment.numSlots], "visible")
      : this.slots;
  }

  /**
   * Tiles of at most `size` consecutive queries of one row, the longest work first.
   * @returns [tiles, 4] u32: first token, number of tokens, the row's first slot, the first token's slot
   */
  queryTiles(size: number): Tensor {
    return this.#table(`queries ${size}`, 4, (row, push) => {
      for (let i = 0; i < row.queryCount; i += size) {
        const count = Math.min(size, row.queryCount - i);
        const slot = row.slotOfFirstQuery + i;
        push(slot + count - row.slotBegin, [row.queryBegin + i, count, row.slotBegin, slot]);
      }
    });
  }

  /**
   * Tiles of at most `size` consecutive slots of one row, the longest work first.
   * @returns [tiles, 8] u32: first slot, number of slots, the first token that sees one of them, the end of the row's
   * tokens, slot minus number of any of the row's tokens (modulo 2^32), three zeros
   */
  keyTiles(size: number): Tensor {
    return this.#table(`keys ${size}`, 8, (row, push) => {
      if (row.queryCount === 0) return;
      const toSlot = row.slotOfFirstQuery - row.queryBegin;
      const end = row.queryBegin + row.queryCount;
      for (let slot = row.slotBegin; slot < endSlot(row); slot += size) {
        const count = Math.min(size, endSlot(row) - slot);
        const first = Math.max(row.queryBegin, slot - toSlot);
        push(end - first, [slot, count, first, end, toSlot >>> 0, 0, 0, 0]);
      }
    });
  }

  #table(
    key: string,
    width: number,
    fill: (row: SegmentRow, push: (work: number, tile: number[]) => void) => void,
  ): Tensor {
    const known = this.#tables.get(key);
    if (known) return known;
    const tiles: { work: number; tile: number[] }[] = [];
    for (const row of this.segment.rows) fill(row, (work, tile) => tiles.push({ work, tile }));
    tiles.sort((a, b) => b.work - a.work); // stable: rows stay together among equals
    const data = Uint32Array.from(tiles.flatMap(({ tile }) => tile));
    const table = this.scope.upload(data, [tiles.length, width], key);
    this.#tables.set(key, table);
    return table;
  }
}

/**
 * Uploads a segment's tables.
 * @param scope what the tables belong to: it must outlive every use, backward included
 * @throws {RangeError} when the rows do not lie end to end or their slots are not in the cache.
 */
export function layoutSegment(scope: Scope, segment: Segment): AttentionLayout {
  return new AttentionLayout(segment, scope);
}

function endSlot(row: SegmentRow): number {
  return row.slotOfFirstQuery + row.queryCount;
}

function checkSegment({ rows, numTokens, numSlots, visible }: Segment): void {
  let begin = 0;
  rows.forEach((row, b) => {
    if (row.queryBegin !== begin) {
      throw new RangeError(
        `attention: row ${b} begins at token ${row.queryBegin}, expected ${begin}: lay rows end to end`,
      );
    }
    begin += row.queryCount;
    const inside = row.slotBegin >= 0 && row.slotBegin <= row.slotOfFirstQuery;
    if (!inside || endSlot(row) > numSlots) {
      throw new RangeError(
        `attention: row ${b} has slots ${row.slotBegin} to ${endSlot(row)}, its first query ` +
          `${row.slotOfFirstQuery}, in a cache of ${numSlots} slots: enlarge the cache`,
      );
    }
  });
  if (begin !== numTokens) {
    throw new RangeError(`attention: the rows have ${begin} tokens, the segment ${numTokens}`);
  }
  if (visible && visible.length !== numSlots) {
    throw new RangeError(`attention: visible has ${visible.length} slots, the cache ${numSlots}`);
  }
}
