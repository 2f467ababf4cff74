/**
 * Beginnings of rows from one cache in another: what several continuations have in common is computed once.
 *
 * Keys and values are copied, because a row's slots must lie together: that costs their bytes and no arithmetic. In
 * training gradients go back through the copies to whoever computed them.
 */
import type { Graph } from "../autograd/tape.ts";
import { cacheAppend } from "../ops/cache_append.ts";
import { gather } from "../ops/gather.ts";
import type { KvCache } from "./kv_cache.ts";

/** The beginning of a row. */
export interface Prefix {
  /** Row of the cache that has it. */
  readonly row: number;
  /** Number of its tokens, all of them visible. */
  readonly length: number;
}

/**
 * Begins each row of an empty cache with the tokens that a row of another begins with.
 * @param source where the prefixes are
 * @param target gets prefix i as the first tokens of its row i
 * @throws {RangeError} when a row of `source` has fewer tokens, or one of `target` no room.
 */
export function copyPrefixes(
  g: Graph,
  source: KvCache,
  target: KvCache,
  prefixes: readonly Prefix[],
): void {
  const slots = prefixes.flatMap(({ row, length }) => {
    if (length > source.lengthOf(row)) {
      throw new RangeError(
        `key/value cache: row ${row} has ${
          source.lengthOf(row)
        } tokens, ${length} cannot be copied`,
      );
    }
    const first = source.slotOf(row);
    return Array.from({ length }, (_, i) => first + i);
  });
  const { layout } = target.extend(g.scope, prefixes.map(({ length }, row) => ({ row, length })));
  const index = Uint32Array.from(slots);
  for (const part of ["keys", "values"] as const) {
    source[part].forEach((tensor, layer) => {
      const copied = gather(g, tensor, index);
      target[part][layer] = cacheAppend(g, copied, target[part][layer], layout);
    });
  }
}
