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

const SMALLEST = 1e-37; // just above the smallest normal float32

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
    const recorded = golden.floats(`${c.key}.kept_probs`);
    // A token that is kept with a probability of zero cannot be told from a dropped one, and need not be.
    const likely = [...ids].filter((_, i) => recorded[i] > SMALLEST);
    const mine = [...all.keys()].filter((i) => all[i] > SMALLEST);
    // PyTorch's sort is not stable: where the limit cuts a tie, which of the equal logits stay is its accident.
    const sorted = (list: number[]) => list.map((i) => c.cuts_a_tie ? values[i] : i).sort();
    assert.deepEqual(sorted(mine), sorted(likely), `${c.key}: kept`);
    golden.compared += ids.length;
    const order = c.cuts_a_tie ? matchTies(ids, mine, values) : [...ids];
    const probabilities = order.map((i) => all[i]);
    golden.close(probabilities, `${c.key}.kept_probs`, golden.json.tolerances.probs);
  }
}

/** For each recorded id the same id where it was kept here, else another kept one of the same logit. */
function matchTies(ids: Int32Array, mine: readonly number[], values: Float32Array): number[] {
  const spare = mine.filter((i) => !ids.includes(i));
  return [...ids].map((id) => {
    if (mine.includes(id)) return id;
    return spare.splice(spare.findIndex((i) => values[i] === values[id]), 1)[0];
  });
}
