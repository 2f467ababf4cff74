/**
 * Prompts into a cache, equal ones computed once: the samples of a group, which begin with one prompt, cost one pass.
 * Each row gets slots of its own, into which keys and values of its prompt are copied.
 */
import type { Graph } from "../autograd/tape.ts";
import type { Backbone } from "../llm/backbone.ts";
import { copyPrefixes } from "../llm/cache_copy.ts";
import { KvCache } from "../llm/kv_cache.ts";
import { checkRoom } from "../llm/positions.ts";
import { gather } from "../ops/gather.ts";
import { prefill, type Prefilled } from "./prefill.ts";

/**
 * Computes the distinct prompts and gives each row its own copy; see `prefill`.
 * @param g without training: the copies have no gradient
 * @param prompts token ids of each row, at least one
 * @param room tokens and latents that each row may grow by
 * @returns rows in the order of `prompts`
 */
export function sharedPrefill(
  g: Graph,
  backbone: Backbone,
  prompts: readonly (readonly number[])[],
  room: number,
): Prefilled {
  checkRoom(backbone, prompts.map(({ length }) => ({ length, last: length - 1, room })));
  const keys = prompts.map((ids) => ids.join());
  const distinct = [...new Map(prompts.map((ids, row) => [keys[row], ids]))];
  if (distinct.length === prompts.length) return prefill(g, backbone, prompts, room);
  const computed = prefill(g, backbone, distinct.map(([, ids]) => ids), 0);
  const index = new Map(distinct.map(([key], i) => [key, i]));
  const sources = Uint32Array.from(keys, (key) => index.get(key)!);
  const cache = new KvCache(g.scope, backbone, prompts.map(({ length }) => length + room));
  const prefixes = prompts.map(({ length }, row) => ({ row: sources[row], length }));
  copyPrefixes(g, computed.cache, cache, prefixes);
  for (const tensor of [...computed.cache.keys, ...computed.cache.values]) g.scope.release(tensor);
  const last = gather(g, computed.last, sources);
  return { cache, rows: prompts.map((_, row) => row), last };
}
