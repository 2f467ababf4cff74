/** Prompts through a backbone into a fresh cache, from which generation goes on. */
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone } from "../llm/backbone.ts";
import { KvCache } from "../llm/kv_cache.ts";
import { checkRoom, checkWhole } from "../llm/positions.ts";
import { embedding } from "../ops/embedding.ts";
import { gather } from "../ops/gather.ts";

/** Where generation starts. */
export interface Prefilled {
  readonly cache: KvCache;
  /** Rows of the cache, 0 to B - 1. */
  readonly rows: readonly number[];
  /** Hidden state of each prompt's last token, [B, D]. */
  readonly last: Tensor;
}

/**
 * Computes prompts and keeps their keys and values.
 * @param prompts token ids of each row, at least one
 * @param room tokens and latents that each row may grow by: one number for each, or one for all
 * @param positions of each row's tokens, where they do not count the row's tokens from 0
 * @throws {TooLongError} for a prompt that the model cannot place with all that follows or may follow.
 */
export function prefill(
  g: Graph,
  backbone: Backbone,
  prompts: readonly (readonly number[])[],
  room: number | readonly number[],
  positions?: readonly (ArrayLike<number> | undefined)[],
): Prefilled {
  const growth = (row: number) => typeof room === "number" ? room : room[row];
  const growths = prompts.map(({ length }, row) => ({
    length,
    last: positions?.[row]?.[length - 1] ?? length - 1,
    room: growth(row),
  }));
  if (g.training) checkWhole(backbone, growths); // what a training row grows by is known
  else checkRoom(backbone, growths);
  const cache = new KvCache(g.scope, backbone, prompts.map(({ length }, b) => length + growth(b)));
  const tokens = cache.extend(
    g.scope,
    prompts.map(({ length }, row) => ({ row, length, positions: positions?.[row] })),
  );
  const x = embedding(g, backbone.embeddings, Uint32Array.from(prompts.flat()));
  const { hidden } = backbone.forward(g, x, tokens, { cache });
  const ends = tokens.offsets.slice(1).map((end) => end - 1);
  return { cache, rows: prompts.map((_, row) => row), last: gather(g, hidden, ends) };
}
