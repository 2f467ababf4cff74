/**
 * LoRA: y = x W^T + (alpha / r) (x A^T) B^T on named linear modules, W frozen; in training of dropout(x) for x A^T.
 *
 * What is dropped is a function of (seed, batch of the run, pass over the batch, module), so that a resumed run and a
 * recomputed block drop the same. Evaluation and generation drop nothing.
 *
 * Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685. Names, default targets and initial
 * values as PEFT's: `base_model.model.<module>.lora_A.weight` [r, in], `lora_B.weight` [out, r].
 */
import type { Gpu } from "../gpu/device.ts";
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { Graph } from "../autograd/tape.ts";
import { add } from "../ops/add.ts";
import { embedding } from "../ops/embedding.ts";
import { type Lora, matmulNN } from "../ops/linear.ts";
import { rowKey, uniformOf } from "../ops/random.ts";
import type { Adapter, Backbone, LinearModule, Updates } from "./backbone.ts";

/** An adapter's settings, under PEFT's names. */
export interface LoraConfig {
  /** Rank. */
  readonly r: number;
  /** Scale is lora_alpha / r. */
  readonly lora_alpha: number;
  /** Ends of module names, or `all-linear` for every one; PEFT's defaults for the architecture when absent. */
  readonly target_modules?: readonly string[] | "all-linear";
  /** Scale is lora_alpha / sqrt(r) instead: rsLoRA, arXiv 2312.03732. @default {false} */
  readonly use_rslora?: boolean;
  /** Ranks of the modules whose names end in a pattern, the first that matches. @default {none} */
  readonly rank_pattern?: Readonly<Record<string, number>>;
  /** lora_alpha likewise. @default {none} */
  readonly alpha_pattern?: Readonly<Record<string, number>>;
  /** Share of an update's input that is dropped in training. @default {0} */
  readonly lora_dropout?: number;
}

const DROPOUT_STREAM = 0xffff; // beyond the streams of the modules' initial values

/** PEFT's default targets by model_type. */
export const DEFAULT_TARGETS: Readonly<Record<string, readonly string[]>> = {
  llama: ["q_proj", "v_proj"],
  qwen2: ["q_proj", "v_proj"],
  gpt2: ["c_attn"],
};

/** The trainable low-rank updates of a backbone. */
export class LoraAdapter implements Adapter {
  /** A and B of every target, under PEFT's names. */
  readonly parameters = new Map<string, Tensor>();
  #modules = new Map<string, Lora>();
  #scope: Scope;

  /**
   * Makes an adapter with A uniform in +-1/sqrt(in) and B zero, drawn from `seed`; set `model.adapter` to use it.
   * With null both are zero: numbers follow by `write`, or none are needed.
   * @throws {RangeError} for an impossible rank, {TypeError} when no module matches a target.
   */
  constructor(
    private readonly gpu: Gpu,
    model: Backbone,
    readonly config: LoraConfig,
    seed: number | null = 0,
  ) {
    const targets = config.target_modules ?? DEFAULT_TARGETS[model.config.model_type];
    const modules = targetModules(model.linearModules, targets);
    const sizes = modules.map(({ name }) => sizeOfUpdate(name, config));
    this.#scope = gpu.scope();
    modules.forEach((module, i) => {
      const { name, numInputs, numOutputs } = module;
      const { r, scale } = sizes[i];
      const bound = 1 / Math.sqrt(numInputs);
      const initial = new Float32Array(r * numInputs);
      for (let j = 0; seed !== null && j < initial.length; j++) {
        initial[j] = (2 * uniformOf(rowKey(seed, i, j, 0)) - 1) * bound;
      }
      const a = this.#parameter(`base_model.model.${name}.lora_A.weight`, initial, [r, numInputs]);
      const zeros = new Float32Array(numOutputs * r);
      const b = this.#parameter(`base_model.model.${name}.lora_B.weight`, zeros, [numOutputs, r]);
      this.#modules.set(name, { a, b, scale });
    });
  }

  /** The update of a module, if it is a target. */
  get(module: string): Lora | undefined {
    return this.#modules.get(module);
  }

  /**
   * The updates as one pass uses them: in training with that pass's dropout, as each call of PEFT's layers draws anew.
   * @throws {TypeError} when something is to be dropped and the graph does not say what keys it.
   */
  forPass(g: Graph): Updates {
    const { lora_dropout: rate = 0 } = this.config;
    if (rate === 0 || !g.training) return (module) => this.get(module);
    if (!g.draw) {
      throw new TypeError(
        `lora_dropout is ${rate}, but nothing keys what is dropped: give the graph a draw, seed and step, or set it to 0`,
      );
    }
    const { seed, step } = g.draw;
    const first = g.nextPass() * this.#modules.size;
    const updates = [...this.#modules].map(([module, update], i): [string, Lora] => {
      const key = rowKey(seed, DROPOUT_STREAM, step, first + i);
      return [module, { ...update, dropout: { rate, key } }];
    });
    const ofModule = new Map(updates);
    return (module) => ofModule.get(module);
  }

  /** Names of the modules that are updated. */
  get modules(): readonly string[] {
    return [...this.#modules.keys()];
  }

  /**
   * Sets one parameter's numbers.
   * @throws {TypeError} for a name or size that the adapter does not have.
   */
  write(name: string, data: Float32Array): void {
    const tensor = this.parameters.get(name);
    if (!tensor) throw new TypeError(`the adapter has no parameter '${name}'`);
    this.gpu.write(tensor, data);
  }

  [Symbol.dispose](): void {
    this.#scope[Symbol.dispose]();
  }

  #parameter(name: string, data: Float32Array, shape: readonly number[]): Tensor {
    const tensor = this.#scope.upload(data, shape, name);
    tensor.gradient = this.#scope.zeros(shape, "f32", `d_${name}`);
    this.parameters.set(name, tensor);
    return tensor;
  }
}

/**
 * W + scale * B A as f32, the weight that makes the adapter unnecessary.
 * @param weight [N, K], f32, bf16 or f16
 * @returns [N, K] f32, in the graph's scope
 */
export function mergedWeight(g: Graph, weight: Tensor, { a, b, scale }: Lora): Tensor {
  const [rows] = weight.shape;
  const merged = embedding(g, weight, Uint32Array.from({ length: rows }, (_, i) => i));
  const scaled = add(g, b, b, { alpha: scale, beta: 0 });
  matmulNN(g, scaled, a, merged); // merged += (scale B) A
  return merged;
}

/**
 * Adds an adapter's updates into the model's matrices, which become f32, and takes it off the model.
 * @param adapter of this model
 */
export async function mergeAdapter(model: Backbone, adapter: LoraAdapter): Promise<void> {
  const { weights } = model;
  for (const module of adapter.modules) {
    using scope = weights.gpu.scope();
    const g = new Graph(weights.gpu, scope, { training: false });
    const name = `${module.replace(/^transformer\./, "")}.weight`; // GPT-2's files leave it out
    const merged = mergedWeight(g, weights.get(name), adapter.get(module)!);
    if (weights.get(name).dtype === "f32") weights.gpu.copy(merged, weights.get(name));
    else weights.replace(name, await weights.gpu.read(merged), merged.shape);
  }
  if (model.adapter === adapter) model.adapter = undefined;
}

/**
 * Rank and scale of a module's update, by PEFT's rule for patterns: the first whose text, a regular expression, matches
 * the end of the name.
 * @throws {RangeError} for a rank that is no whole number >= 1.
 */
export function sizeOfUpdate(module: string, config: LoraConfig): { r: number; scale: number } {
  const { rank_pattern = {}, alpha_pattern = {}, use_rslora = false } = config;
  const r = ofPattern(rank_pattern, module) ?? config.r;
  const alpha = ofPattern(alpha_pattern, module) ?? config.lora_alpha;
  if (!Number.isSafeInteger(r) || r < 1) {
    throw new RangeError(`lora r must be a whole number >= 1, got ${r} for ${module}`);
  }
  return { r, scale: alpha / (use_rslora ? Math.sqrt(r) : r) };
}

function ofPattern(
  patterns: Readonly<Record<string, number>>,
  module: string,
): number | undefined {
  const matches = (pattern: string) => new RegExp(`^(.*\\.)?(${pattern})$`).test(module);
  return Object.entries(patterns).find(([pattern]) => matches(pattern))?.[1];
}

function targetModules(
  modules: readonly LinearModule[],
  targets: readonly string[] | "all-linear",
): LinearModule[] {
  if (targets === "all-linear") return [...modules];
  const last = (name: string) => name.slice(name.lastIndexOf(".") + 1);
  const isTarget = (name: string, target: string) => `.${name}`.endsWith(`.${target}`);
  for (const target of targets) {
    if (!modules.some(({ name }) => isTarget(name, target))) {
      const known = [...new Set(modules.map(({ name }) => last(name)))].join(", ");
      throw new TypeError(`lora target '${target}' is no module of the model; it has: ${known}`);
    }
  }
  return modules.filter(({ name }) => targets.some((target) => isTarget(name, target)));
}
