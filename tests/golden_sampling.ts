/** Golden case of the sampling filters: which tokens temperature, top-k and top-p keep, and with what probability. */
import assert from "node:assert/strict";
import { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import { filterProbabilities } from "../ops/sample.ts";
import type { GoldenCase } from "./golden_case.ts";

interface SamplingCase {
  readonly key: string;
  readonly vector: string;
  readonly temperature: number;
  readonly top_k: number;
  readonly top_p: number;
  readonly kept: number;
  readonly cuts_a_tie: boolean;
}

/** Compares every filter setting on every logit vector. */
export async function checkSampling(gpu: Gpu, golden: GoldenCase): Promise<void> {
  for (const c of golden.json.cases as SamplingCase[]) {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope, { training: false });
    const values = golden.floats(`${c.vector}.logits`);
    const logits = scope.upload(values, [1, values.length]);
    const { temperature, top_k: topK, top_p: topP } = c;
    const kept = filterProbabilities(g, logits, { temperature, topK, topP });
    const all = await gpu.read(kept);
    const ids = golden.ints(`${c.key}.kept_ids`);
    const positive = [...all.keys()].filter((i) => all[i] > 0);
    const mine = topP < 1 || topK > 0 ? positive : [...all.keys()];
    if (c.cuts_a_tie) {
      // PyTorch's sort is not stable: which of the equal logits stay is its accident.
      assert.equal(mine.length, c.kept, `${c.key}: number kept`);
      const sorted = (list: Iterable<number>) => [...list].map((i) => values[i]).sort();
      assert.deepEqual(sorted(mine), sorted(ids), `${c.key}: logits kept`);
      golden.compared += mine.length;
    } else if (topP < 1 || topK > 0) {
      golden.same(mine, `${c.key}.kept_ids`);
    }
    const order = c.cuts_a_tie ? mine.sort((a, b) => a - b) : [...ids];
    const probabilities = order.map((i) => all[i]);
    golden.close(probabilities, `${c.key}.kept_probs`, golden.json.tolerances.probs);
  }
}
