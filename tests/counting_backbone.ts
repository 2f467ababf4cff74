/** What a backbone is made to compute, counted: results alone do not tell whether rows cost a pass that they do not need. */
import assert from "node:assert/strict";
import type { Backbone } from "../llm/backbone.ts";

/** The same backbone, which appends to `seen` how many tokens each forward pass computes. */
export function countingBackbone<T extends Backbone>(backbone: T, seen: number[]): T {
  return new Proxy(backbone, {
    get: (target, key) => {
      const value = Reflect.get(target, key, target);
      if (key !== "forward") return value;
      return (...args: Parameters<Backbone["forward"]>) => {
        seen.push(args[1].shape[0]);
        return target.forward(...args);
      };
    },
  });
}

/**
 * Fails unless rows leave the batch when they have ended: each pass has every row that goes on, and no row stays for more
 * than `spare` passes that it did not need, those recorded before its end is read.
 * @param passes rows of each pass, one token for each
 * @param needed how many passes each row needs
 */
export function assertRowsLeave(
  passes: readonly number[],
  needed: readonly number[],
  spare: number,
): void {
  const of = (count: number) => needed.filter((own) => own > count).length;
  passes.forEach((rows, i) => {
    const what = `pass ${i} has ${rows} rows of ${needed.length}, which need ${needed} passes`;
    assert.ok(of(i) <= rows && rows <= of(i - spare), what);
  });
  assert.ok(passes.length >= Math.max(...needed), `${passes.length} passes`);
  assert.ok(passes.at(-1)! < passes[0], `no row left before the end: ${passes}`);
}
