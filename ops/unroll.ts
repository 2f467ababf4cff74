/**
 * Kernels whose loops over a register tile are written out before they are compiled.
 *
 * Software Vulkan keeps an array in registers only when every index is a number, and WGSL compilers add a counter to
 * every loop that hides its length. A loop of the form
 *
 *     for (var i = 0u; i < HEADS * QUERIES; i++) { // unroll
 *
 * over a bound made of the kernel's `const`s is therefore copied once for every `i`. The file stays valid WGSL as it
 * stands: unrolled or not it computes the same.
 */
import { type Constants, type Kernel, kernel, specialise } from "../gpu/kernel.ts";

/** A kernel of unrolled loops for given values of its `const`s; the same object for the same values. */
export type UnrolledKernel = (constants: Constants) => Kernel;

/**
 * Reads a WGSL file with loops marked `// unroll`.
 * @param path the file's path from the project's root
 * @param source its text
 * @returns a function from constants to the kernel specialised to them, to be run without further constants
 */
export function unrolledKernel(path: string, source: string): UnrolledKernel {
  const made = new Map<string, Kernel>();
  const plain = kernel(path, source);
  return (constants) => {
    const key = JSON.stringify(constants);
    const known = made.get(key);
    if (known) return known;
    const text = unroll(path, specialise(plain, constants).source);
    const name = `${path} ${key}`; // pipelines are cached by path: each specialisation needs its own
    const result = kernel(name, text);
    made.set(key, result);
    return result;
  };
}

/**
 * Reads a WGSL file for a real GPU: its marked loops are written out there, while software Vulkan, which compiles long
 * texts with barriers in minutes, runs it as it stands.
 * @returns a function from device and constants to the kernel and the constants to run it with
 */
export function gpuUnrolledKernel(path: string, source: string) {
  const rolled = kernel(path, source);
  const unrolled = unrolledKernel(path, source);
  return (gpu: { readonly isSoftware: boolean }, constants: Constants) =>
    gpu.isSoftware ? { kernel: rolled, constants } : { kernel: unrolled(constants), constants: {} };
}

/** What `gpuUnrolledKernel` gives. */
export type GpuUnrolledKernel = ReturnType<typeof gpuUnrolledKernel>;

const LOOP =
  /^[ \t]*for \(var (\w+) = 0u; \1 < ([A-Za-z_]\w*(?: \* [A-Za-z_]\w*)*); \1\+\+\) \{ \/\/ unroll$/m;

/**
 * Writes out every loop marked `// unroll`, outermost first.
 * @throws {SyntaxError} when a marked loop is not of the form above or its bound is not made of `const` numbers.
 */
export function unroll(path: string, source: string): string {
  const sizes = new Map<string, number>();
  const declaration = /^const\s+(\w+)\s*:\s*u32\s*=\s*([\w *]+);/gm;
  const size = (product: string) =>
    product.split("*").map((f) => f.trim())
      .reduce((n, f) => n * (sizes.get(f) ?? (/^\d+u?$/.test(f) ? parseInt(f) : NaN)), 1);
  for (const [, name, product] of source.matchAll(declaration)) sizes.set(name, size(product));
  let text = source;
  for (let match = LOOP.exec(text); match; match = LOOP.exec(text)) {
    const [line, variable, bound] = match;
    const count = size(bound);
    if (Number.isNaN(count)) {
      throw new SyntaxError(`${path}: 'unroll' needs a bound of const u32 numbers, got '${bound}'`);
    }
    const begin = match.index + line.length;
    const end = closingBrace(text, begin);
    const body = text.slice(begin, end);
    const uses = new RegExp(`\\b${variable}\\b`, "g");
    const copies = Array.from({ length: count }, (_, i) => `{${body.replace(uses, `${i}u`)}}`);
    text = text.slice(0, match.index) + copies.join("\n") + text.slice(end + 1);
  }
  const left = /^.*\/\/ unroll$/m.exec(text);
  if (left) throw new SyntaxError(`${path}: cannot unroll '${left[0].trim()}'`);
  return text;
}

function closingBrace(text: string, begin: number): number {
  let depth = 1;
  for (let i = begin; i < text.length; i++) {
    if (text[i] === "{") depth++;
    if (text[i] === "}" && --depth === 0) return i;
  }
  return text.length;
}
