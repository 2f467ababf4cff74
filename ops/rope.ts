/**
 * Rotary position embedding: every head's pairs (i, i + E/2) turned by position * inverseFrequency[i].
 *
 * The tables are made in float64: in float32 the angle itself is off by 2e-4 at position 4095. Su et al., RoFormer,
 * 2021 (arXiv 2104.09864); llama3 scaling as in transformers' modeling_rope_utils.py;
 * pair order as in Hub checkpoints of Llama.
 */
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import backwardSource from "../kernels/rope_backward.wgsl" with { type: "text" };
import forwardSource from "../kernels/rope_forward.wgsl" with { type: "text" };
import { byWidth } from "./element_width.ts";
import { gradientTarget } from "./gradient_target.ts";

const forward = byWidth("kernels/rope_forward.wgsl", forwardSource);
const backward = byWidth("kernels/rope_backward.wgsl", backwardSource);

/** `rope_scaling` of a Hub config: frequencies of long waves are divided by `factor`. */
export interface RopeScaling {
  /** "default" (the other keys are ignored) or "llama3". */
  readonly rope_type: string;
  readonly factor?: number;
  readonly low_freq_factor?: number;
  readonly high_freq_factor?: number;
  readonly original_max_position_embeddings?: number;
}

/** What the tables depend on. */
export interface RopeConfig {
  /** E, the size of a head: even. */
  readonly headDim: number;
  /** Base of the frequencies, `rope_theta`. */
  readonly theta: number;
  /** P: positions 0 to P - 1. */
  readonly maxPositions: number;
  /** @default {null} no scaling */
  readonly scaling?: RopeScaling | null;
}

/** Tables on the host. */
export interface RopeTables {
  /** [P, E/2] */
  readonly cos: Float32Array;
  /** [P, E/2] */
  readonly sin: Float32Array;
  /** [E/2], radians per position */
  readonly inverseFrequencies: Float64Array;
}

/** Tables on the device, [P, E/2] each. */
export interface RopeTensors {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/**
 * Cosines and sines of every position.
 * @throws {RangeError} when the head size is odd, {TypeError} when the scaling is unknown or incomplete.
 */
export function ropeTables(config: RopeConfig): RopeTables {
  const { headDim, theta, maxPositions } = config;
  if (headDim % 2 !== 0) {
    throw new RangeError(`rope: head_dim must be even, got ${headDim}`);
  }
  const half = headDim / 2;
  const plain = Float64Array.from({ length: half }, (_, i) => theta ** (-2 * i / headDim));
  const inverseFrequencies = scaled(plain, config.scaling ?? null);
  const cos = new Float32Array(maxPositions * half);
  const sin = new Float32Array(maxPositions * half);
  for (let p = 0; p < maxPositions; p++) {
    for (let i = 0; i < half; i++) {
      cos[p * half + i] = Math.cos(p * inverseFrequencies[i]);
      sin[p * half + i] = Math.sin(p * inverseFrequencies[i]);
    }
  }
  return { cos, sin, inverseFrequencies };
}

function scaled(frequencies: Float64Array, scaling: RopeScaling | null): Float64Array {
  if (scaling === null || scaling.rope_type === "default") return frequencies;
  if (scaling.rope_type !== "llama3") {
    throw new TypeError(
      `rope_type '${scaling.rope_type}' is not supported (supported: default, llama3)`,
    );
  }
  const { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } = scaling;
  const numbers = { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings };
  for (const [name, value] of Object.entries(numbers)) {
    if (!(typeof value === "number" && value > 0)) {
      throw new TypeError(`rope_scaling of type llama3 needs a number '${name}', got ${value}`);
    }
  }
  return frequencies.map((f) => {
    // Short waves stay, long ones are stretched by `factor`, those between are blended.
    const turns = original_max_position_embeddings! * f / (2 * Math.PI);
    const blend = (turns - low_freq_factor!) / (high_freq_factor! - low_freq_factor!);
    const keep = Math.min(1, Math.max(0, blend));
    return (1 - keep) * f / factor! + keep * f;
  });
}

/**
 * Turns every head of every token by its position's angles.
 * @param x [N, heads * E]
 * @param tables [P, E/2] each, see {@link ropeTables}
 * @param positions [N] u32, each below P
 * @param options heads of `x` and their size
 * @returns [N, heads * E]
 * @throws {TypeError} when a shape does not fit.
 */
export function rope(
  g: Graph,
  x: Tensor,
  tables: RopeTensors,
  positions: Tensor,
  { numHeads, headDim }: { readonly numHeads: number; readonly headDim: number },
): Tensor {
  const [rows, columns] = x.shape;
  const half = headDim / 2;
  if (columns !== numHeads * headDim || positions.size !== rows) {
    throw new TypeError(
      `rope: x is ${x} with ${positions.size} positions, expected [${positions.size}, ` +
        `${numHeads * headDim}] for ${numHeads} heads of ${headDim}`,
    );
  }
  if (tables.cos.shape[1] !== half || tables.sin.shape[1] !== half) {
    throw new TypeError(
      `rope: the tables are ${tables.cos} and ${tables.sin}, expected [P, ${half}]`,
    );
  }
  const lanes = half % 4 === 0 ? 4 : 1; // numbers of each half that a lane turns
  const params = { size: rows * half / lanes, heads: numHeads, half: half / lanes };
  const groups = Math.ceil(params.size / 64);
  const common = { positions, cos_table: tables.cos, sin_table: tables.sin };
  const out = g.empty(x.shape);
  g.run(forward(lanes), { ...common, x, out }, params, groups);
  return g.record(out, [x], (d_out) => {
    const { gradient: d_x, accumulate } = gradientTarget(g, x);
    const constants = { ACCUMULATE: accumulate };
    g.run(backward(lanes), { ...common, d_out, d_x }, params, groups, constants);
  });
}
