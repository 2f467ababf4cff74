/** Kernels over `array<Element>` that exist for vectors of four numbers and, where a size is odd, for single ones. */
import { type Kernel, kernel } from "../gpu/kernel.ts";

/**
 * Reads a WGSL file that declares `alias Element = vec4<f32>;` as two kernels.
 * @param path the file's path from the project's root
 * @param source its text
 * @returns the kernel whose elements are 4 numbers or 1
 */
export function byWidth(path: string, source: string): (width: 1 | 4) => Kernel {
  const vector = kernel(path, source);
  const alias = "alias Element = vec4<f32>;";
  if (!source.includes(alias)) throw new SyntaxError(`${path}: '${alias}' is missing`);
  const scalar = kernel(`${path} (f32)`, source.replace(alias, "alias Element = f32;"));
  return (width) => width === 4 ? vector : scalar;
}
