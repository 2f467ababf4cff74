/** Methods recomputed in float64: their numbers, their backbone on whole rows, and central differences of their losses. */
import assert from "node:assert/strict";
import type { Gpu } from "../../gpu/device.ts";
import type { Backbone } from "../../llm/backbone.ts";
import type { Method } from "../../models/method.ts";
import { type ReferenceModel, referenceStates } from "../reference/backbone.ts";
import { logProbs } from "../reference/cross_entropy.ts";
import { normals } from "../random.ts";

/** Numbers by name. */
export type Numbers = Map<string, Float64Array>;

/**
 * Writes random numbers into all that a method trains, since a LoRA's B is zero at first and then A has no gradient.
 * @returns all its numbers, the trained ones under the method's names
 */
export async function randomised(gpu: Gpu, method: Method): Promise<Numbers> {
  method.parameters.forEach(({ tensor }, i) => gpu.write(tensor, normals(i, tensor.size, 0.2)));
  const numbers: Numbers = new Map();
  for (const { name, tensor } of method.parameters) {
    numbers.set(name, Float64Array.from(await gpu.read(tensor)));
  }
  for (const [name, tensor] of method.backbone.weights.entries) {
    numbers.set(name, Float64Array.from(await gpu.read(tensor)));
  }
  return numbers;
}

/** Arrays end to end. */
export function join(...parts: readonly Float64Array[]): Float64Array<ArrayBuffer> {
  return Float64Array.from(parts.flatMap((part) => [...part]));
}

/** The mean of some numbers, at least one. */
export function mean(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0) / numbers.length;
}

/** A tiny method's backbone with its adapter (lora_alpha / r is 2), on one row from position 0. */
export function referenceOf(backbone: Backbone, numbers: Numbers) {
  const D = backbone.hiddenSize;
  const adapter = new Map(
    [...numbers].filter(([name]) => name.startsWith("llm."))
      .map(([name, data]) => [name.slice("llm.".length).replace(".default", ""), data]),
  );
  const model: ReferenceModel = { config: backbone.config, weights: numbers, adapter, scale: 2 };
  const table = numbers.get(backbone.embeddings.name)!;
  return {
    /** Embeddings of ids, [ids, D]. */
    embed: (ids: readonly number[]) =>
      Float64Array.from(ids.flatMap((id) => [...table.subarray(id * D, (id + 1) * D)])),
    /** What enters each block, and last the hidden states after the final norm, [N, D] each. */
    states: (x: Float64Array) => referenceStates(model, x),
    /** -log p of each id of a row's tail, which `before` tokens precede. */
    surprise: (states: readonly Float64Array[], before: number, ids: readonly number[]) => {
      const hidden = states.at(-1)!.slice((before - 1) * D, (before - 1 + ids.length) * D);
      return [...logProbs(hidden, table, ids)].map((p) => -p);
    },
  };
}

/**
 * Compares the gradients of all that a method trains with central differences, at each tensor's largest elements.
 * @param loss the loss of `numbers` as they are
 * @param perTensor how many elements of each tensor
 */
export async function compareGradients(
  gpu: Gpu,
  method: Method,
  numbers: Numbers,
  loss: () => number,
  perTensor = 1,
): Promise<void> {
  for (const { name, tensor } of method.parameters) {
    const gradient = await gpu.read(tensor.gradient!);
    const order = [...gradient.keys()].sort((a, b) =>
      Math.abs(gradient[b]) - Math.abs(gradient[a])
    );
    const size = Math.abs(gradient[order[0]]);
    assert.ok(size > 0, `${name} has no gradient`);
    const own = numbers.get(name)!;
    for (const i of order.slice(0, perTensor)) {
      const start = own[i];
      const [above, below] = [1e-5, -1e-5].map((h) => {
        own[i] = start + h;
        return loss();
      });
      own[i] = start;
      const difference = (above - below) / 2e-5;
      const off = Math.abs(gradient[i] - difference);
      assert.ok(off <= 1e-4 * size, `${name}[${i}]: ${gradient[i]}, expected ${difference}`);
    }
  }
}

/** Compares losses by name, 1e-5 relative. */
export async function compareLosses(
  gpu: Gpu,
  found: Readonly<Record<string, Parameters<Gpu["read"]>[0]>>,
  expected: Readonly<Record<string, number>>,
): Promise<void> {
  assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort());
  for (const [name, wanted] of Object.entries(expected)) {
    const [number] = await gpu.read(found[name]);
    const off = Math.abs(number - wanted);
    assert.ok(off <= 1e-5 * Math.abs(wanted), `${name}: ${number}, expected ${wanted}`);
  }
}
