/** Weights of a model that has not been trained: matrices N(0, initializer_range), norms one, biases zero. */
import { normalOf, rowKey } from "../ops/random.ts";
import type { TensorSpec, WeightSource } from "./weights.ts";

/**
 * Initial weights as transformers draws them, from this engine's counter-based generator.
 * @param specs the architecture's tensors
 * @param standardDeviation of the matrices: config.json's `initializer_range`
 * @param seed the same seed gives the same numbers on every machine
 */
export function initialWeights(
  specs: readonly TensorSpec[],
  standardDeviation: number,
  seed: number,
): WeightSource {
  const index = new Map(specs.map((spec, i) => [spec.name, i]));
  return {
    name: "initial weights",
    names: () => index.keys(),
    info: (name) => {
      const i = index.get(name);
      return i === undefined ? undefined : { shape: specs[i].shape, dtype: "F32" };
    },
    readFloat32: (name) => {
      const i = index.get(name)!;
      const { shape } = specs[i];
      const size = shape.reduce((a, b) => a * b, 1);
      if (shape.length === 1) {
        return Promise.resolve(new Float32Array(size).fill(name.endsWith("bias") ? 0 : 1));
      }
      const key = rowKey(seed, i, 0, 0);
      return Promise.resolve(
        Float32Array.from({ length: size }, (_, j) => standardDeviation * normalOf(key, j)),
      );
    },
    readHalf: (name) => Promise.reject(new TypeError(`${name} is float32`)),
  };
}
