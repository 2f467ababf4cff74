/** Numbers as a tensor of another type takes them, and what they then are. */
import type { HalfType } from "../gpu/tensor.ts";
import type { WeightData } from "../llm/weights.ts";

/**
 * Numbers for an upload: bf16 truncated to the upper halves, f16 rounded, or as they are.
 * @returns the data, and the numbers that they stand for
 */
export function narrowed(
  numbers: Float32Array,
  dtype: HalfType | "f32",
): { readonly data: WeightData; readonly values: Float32Array } {
  if (dtype === "f32") return { data: numbers, values: numbers };
  if (dtype === "f16") {
    const data = new Float16Array(numbers);
    return { data, values: new Float32Array(data) };
  }
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  const data = Uint16Array.from(words, (word) => word >>> 16);
  return { data, values: new Float32Array(Uint32Array.from(data, (half) => half << 16).buffer) };
}
