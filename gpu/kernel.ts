/**
 * A kernel: one WGSL file, read for the names it declares, so that a call names tensors and parameters, never
 * binding numbers, and a forgotten or misspelt name is an exact error.
 *
 * What a kernel file declares (all in `@group(0)`; see docs/adding_a_kernel.md):
 * - `struct Params { rows: u32, eps: f32 }` bound as `var<uniform> params: Params` at binding 0: sizes of one call;
 * - `var<storage, read>` and `var<storage, read_write>` arrays: its tensors;
 * - `override NAME: type = value;` numbers fixed when the pipeline is made;
 * - `const NAME: type = value;` lines, which a call may rewrite the same way (register tiles need `const`);
 * - one entry point, `main`.
 */
import { type DType, isHalf, type Tensor } from "./tensor.ts";

/** Most fields of one `Params`: they travel in slots of 128 bytes. */
const MAX_PARAMS = 32;

/** One `var<storage>` of a kernel. */
export interface Binding {
  readonly name: string;
  readonly index: number;
  readonly writable: boolean;
  /** Element type as WGSL writes it: `f32`, `vec4<f32>`, `u32`, ... or `Bits` for any 4-byte type. */
  readonly element: string;
}

/** One field of `struct Params`. */
export interface Parameter {
  readonly name: string;
  readonly type: "u32" | "i32" | "f32";
}

/** A parsed WGSL file. */
export interface Kernel {
  /** Path from the project's root, used as label and in every message. */
  readonly path: string;
  readonly source: string;
  readonly bindings: readonly Binding[];
  readonly params: readonly Parameter[];
  readonly overrides: ReadonlySet<string>;
  readonly consts: ReadonlySet<string>;
  /** Whether it calls subgroup operations. */
  readonly usesSubgroups: boolean;
}

/** Numbers that replace `override` and `const` declarations of a kernel. */
export type Constants = Readonly<Record<string, number | boolean>>;

/**
 * Reads a WGSL file's declarations.
 * @param path the file's path from the project's root, `kernels/rms_norm_forward.wgsl`
 * @param source its text
 * @throws {SyntaxError} when a declaration is not of the house's form.
 */
export function kernel(path: string, source: string): Kernel {
  const code = source.replace(/\/\/[^\n]*/g, "");
  if (!/@compute[\s\S]*?fn\s+main\s*\(/.test(code)) {
    throw new SyntaxError(`${path}: no entry point: a kernel needs '@compute ... fn main('`);
  }
  const struct = /struct\s+Params\s*\{([^}]*)\}/.exec(code);
  const params: Parameter[] = [];
  for (const field of (struct?.[1] ?? "").split(",").map((f) => f.trim()).filter(Boolean)) {
    const match = /^(\w+)\s*:\s*(u32|i32|f32)$/.exec(field);
    if (!match) {
      throw new SyntaxError(`${path}: Params field '${field}' must be 'name: u32', i32 or f32`);
    }
    params.push({ name: match[1], type: match[2] as Parameter["type"] });
  }
  if (params.length > MAX_PARAMS) {
    throw new SyntaxError(`${path}: Params has ${params.length} fields, at most ${MAX_PARAMS}`);
  }
  const bindings: Binding[] = [];
  let understood = 0;
  const declaration =
    /@group\((\d+)\)\s*@binding\((\d+)\)\s*var\s*<\s*([\w\s,]+?)\s*>\s*(\w+)\s*:\s*([^;]+);/g;
  for (const [, group, index, space, name, type] of code.matchAll(declaration)) {
    understood++;
    if (group !== "0") {
      throw new SyntaxError(`${path}: '${name}' is in group ${group}; only group 0 is used`);
    }
    if (space === "uniform") {
      if (index !== "0" || name !== "params" || type.trim() !== "Params") {
        throw new SyntaxError(`${path}: the uniform must be '@binding(0) ... params: Params'`);
      }
      continue;
    }
    const element = /^array<\s*([\w<>\s]+?)\s*>$/.exec(type.trim())?.[1];
    if (!element) {
      throw new SyntaxError(
        `${path}: '${name}' must be an array<...> without a length, got ${type}`,
      );
    }
    bindings.push({ name, index: Number(index), writable: /read_write/.test(space), element });
  }
  if (understood !== [...code.matchAll(/\bvar\s*<\s*(storage|uniform)/g)].length) {
    throw new SyntaxError(
      `${path}: a variable is not of the form '@group(0) @binding(1) var<storage, read> x: array<f32>;'`,
    );
  }
  return {
    path,
    source,
    bindings,
    params,
    overrides: new Set([...code.matchAll(/\boverride\s+(\w+)/g)].map((m) => m[1])),
    consts: new Set([...code.matchAll(/^const\s+(\w+)/gm)].map((m) => m[1])),
    usesSubgroups: /\bsubgroup\w+\s*\(/.test(code),
  };
}

/**
 * The kernel's text with `const NAME = value;` lines rewritten and the overrides left to the pipeline.
 * @throws {TypeError} when a name is neither an `override` nor a `const` of the kernel, {RangeError} when a value is
 * not finite.
 */
export function specialise(
  kernel: Kernel,
  constants: Constants,
): { source: string; overrides: Record<string, number> } {
  let source = kernel.source;
  const overrides: Record<string, number> = {};
  for (const [name, value] of Object.entries(constants)) {
    if (!Number.isFinite(Number(value))) {
      throw new RangeError(`${kernel.path}: constant '${name}' must be finite, got ${value}`);
    }
    if (kernel.overrides.has(name)) {
      overrides[name] = Number(value);
    } else if (kernel.consts.has(name)) {
      const line = new RegExp(`^(const\\s+${name}\\s*(?::\\s*\\w+\\s*)?=\\s*)([^;]+);`, "m");
      source = source.replace(line, (_, left, old) => {
        const isUnsigned = /:\s*u32/.test(left) || /^\d+u$/.test(old);
        return `${left}${value}${isUnsigned ? "u" : ""};`;
      });
    } else {
      const known = [...kernel.overrides, ...kernel.consts].join(", ") || "none";
      throw new TypeError(`${kernel.path}: no constant '${name}' (it declares: ${known})`);
    }
  }
  return { source, overrides };
}

const RANGES = {
  u32: [0, 0xffffffff],
  i32: [-0x80000000, 0x7fffffff],
  f32: [-3.4028234663852886e38, 3.4028234663852886e38],
} as const;

/**
 * Packs a call's numbers as the uniform buffer holds them, 4 bytes a field.
 * @throws {TypeError} when a field is missing or unknown; {RangeError} when a number does not fit its type.
 */
export function packParams(kernel: Kernel, values: Readonly<Record<string, number>>): Uint32Array {
  const words = new Uint32Array(Math.max(4, Math.ceil(kernel.params.length / 4) * 4));
  const floats = new Float32Array(words.buffer);
  kernel.params.forEach(({ name, type }, i) => {
    const value = values[name];
    if (value === undefined) {
      throw new TypeError(`${kernel.path}: parameter '${name}' is missing`);
    }
    const [least, most] = RANGES[type];
    const isWhole = type === "f32" || Number.isInteger(value);
    if (type === "f32" && Math.abs(value) === Infinity) {
      floats[i] = value;
    } else if (!isWhole || !(value >= least && value <= most)) {
      throw new RangeError(`${kernel.path}: parameter '${name}' must be ${type}, got ${value}`);
    } else if (type === "f32") {
      floats[i] = value;
    } else {
      words[i] = value;
    }
  });
  for (const name of Object.keys(values)) {
    if (!kernel.params.some((p) => p.name === name)) {
      const known = kernel.params.map((p) => p.name).join(", ") || "none";
      throw new TypeError(`${kernel.path}: no parameter '${name}' (it declares: ${known})`);
    }
  }
  return words;
}

/**
 * Checks that a call gives a living tensor of the right type for every array of the kernel, and no other.
 * @throws {TypeError} when it does not.
 */
export function checkTensors(kernel: Kernel, tensors: Readonly<Record<string, Tensor>>): void {
  for (const { name, element } of kernel.bindings) {
    const t = tensors[name];
    if (!t) throw new TypeError(`${kernel.path}: tensor '${name}' is missing`);
    if (!t.isAlive) t.assertAlive(`${kernel.path}: '${name}'`);
    if (!fits(element, t.dtype)) {
      throw new TypeError(`${kernel.path}: '${name}' is array<${element}>, got ${t} of ${t.dtype}`);
    }
  }
  for (const name in tensors) {
    if (!kernel.bindings.some((b) => b.name === name)) {
      const known = kernel.bindings.map((b) => b.name).join(", ");
      throw new TypeError(`${kernel.path}: no tensor '${name}' (it declares: ${known})`);
    }
  }
}

/** Which element types of WGSL a tensor of a type may be bound to. */
function fits(element: string, dtype: DType): boolean {
  if (element === "Bits") return true;
  const isUnsigned = element.includes("u32");
  if (isHalf(dtype) || dtype === "u32") return isUnsigned;
  return dtype === "i32" ? element.includes("i32") : !isUnsigned && !element.includes("i32");
}

/**
 * The compiler's report of a mistake in a kernel on one line, `kernels/x.wgsl:20:12: what is wrong`; undefined when
 * the message points at no line of the source.
 */
export function shaderError(path: string, message: string): string | undefined {
  const position = /┌─ .*?:(\d+:\d+)/.exec(message)?.[1];
  if (!position) return undefined;
  const title = message.trim().split("\n")[0].replace(/^Shader .*?error: /, "");
  const notes = [...message.matchAll(/^ *(?:│ +\^+|=) (.+)$/gm)].map(([, note]) => note)
    .filter((note) => !title.includes(note));
  return `${path}:${position}: ${[title, ...notes].join("; ")}`;
}
