/**
 * The tape: operations record one closure each, `backward()` runs the closures in reverse. It knows no mathematics.
 *
 * A gradient buffer exists only for tensors that something trained depends on. It starts at zero and backward kernels
 * add to it, so that fan-out, residuals and shared weights need no rule.
 */
import type { Gpu, Workgroups } from "../gpu/device.ts";
import type { Constants, Kernel } from "../gpu/kernel.ts";
import type { Scope } from "../gpu/pool.ts";
import type { DType, Tensor } from "../gpu/tensor.ts";

interface Entry {
  readonly outputs: readonly Tensor[];
  readonly backward: () => void;
}

/** How a graph records. */
export interface GraphOptions {
  /** False: nothing is recorded (evaluation, generation). @default {true} */
  readonly training?: boolean;
  /** The graph that gradients of tensors from outside belong to: a recomputed block's parent. */
  readonly parent?: Graph;
  /** What keys the random numbers of its passes. @default {passes draw none} */
  readonly draw?: GraphDraw;
}

/** A run's seed, and a number that no other graph of the run has: that of its batch. */
export interface GraphDraw {
  readonly seed: number;
  readonly step: number;
}

/** One forward computation, with what its backward needs; lives as long as its scope. */
export class Graph {
  readonly training: boolean;
  readonly draw: GraphDraw | undefined;
  #numPasses = 0;
  #entries: Entry[] = [];
  #gradients = new Map<Tensor, Tensor>();
  #needed = new Set<Tensor>();
  #parent: Graph | undefined;

  constructor(readonly gpu: Gpu, readonly scope: Scope, options: GraphOptions = {}) {
    this.training = options.training ?? true;
    this.draw = options.draw;
    this.#parent = options.parent;
  }

  /** Numbers the passes of models over this graph, from 0: together with `draw` it keys what one pass draws. */
  nextPass(): number {
    return this.#numPasses++;
  }

  /** A tensor with undefined contents, for a kernel to fill. */
  empty(shape: readonly number[], dtype: DType = "f32"): Tensor {
    return this.scope.empty(shape, dtype);
  }

  /** A tensor of zeros. */
  zeros(shape: readonly number[], dtype: DType = "f32"): Tensor {
    return this.scope.zeros(shape, dtype);
  }

  /** Records a dispatch; see {@link Gpu.run}. */
  run(
    kernel: Kernel,
    tensors: Readonly<Record<string, Tensor>>,
    params: Readonly<Record<string, number>>,
    workgroups: Workgroups,
    constants: Constants = {},
  ): void {
    this.gpu.run(kernel, tensors, params, workgroups, constants);
  }

  /** Whether a gradient of `x` is wanted: it is a parameter, is watched, or was computed from one that is. */
  needsGrad(x: Tensor): boolean {
    if (!this.training) return false;
    return x.gradient !== undefined || this.#needed.has(x) || (this.#parent?.needsGrad(x) ?? false);
  }

  /** Asks for the gradient of a tensor that no operation made: an input. */
  watch(x: Tensor): Tensor {
    this.#needed.add(x);
    return x;
  }

  /**
   * The gradient of `x`, to be added to: a parameter's own, or one that begins as zeros.
   * @throws {TypeError} when nothing asked for it.
   */
  grad(x: Tensor): Tensor {
    if (x.gradient) return x.gradient;
    const known = this.#gradients.get(x);
    if (known) return known;
    if (!this.#needed.has(x)) {
      if (this.#parent?.needsGrad(x)) return this.#parent.grad(x);
      throw new TypeError(`grad: ${x} does not take part in training; use watch() for an input`);
    }
    const gradient = this.scope.zeros(x.shape);
    this.#gradients.set(x, gradient);
    return gradient;
  }

  /** The gradient of `x` if anything was added to it. */
  gradIfAny(x: Tensor): Tensor | undefined {
    return x.gradient ?? this.#gradients.get(x) ?? this.#parent?.gradIfAny(x);
  }

  /**
   * Records how gradients go back through an operation.
   * @param outputs what it made, one or several
   * @param inputs what its gradient may flow to; when none needs one, nothing is recorded
   * @param backward adds to `g.grad(input)` for every input that `g.needsGrad`; gets the outputs' gradients
   * @returns `outputs`
   */
  record<T extends Tensor | readonly Tensor[]>(
    outputs: T,
    inputs: readonly (Tensor | undefined)[],
    backward: (...d_outputs: Tensor[]) => void,
  ): T {
    if (!inputs.some((x) => x !== undefined && this.needsGrad(x))) return outputs;
    const list: readonly Tensor[] = Array.isArray(outputs) ? outputs : [outputs as Tensor];
    for (const out of list) this.#needed.add(out);
    this.#entries.push({
      outputs: list,
      backward: () => backward(...list.map((out) => this.grad(out))),
    });
    return outputs;
  }

  /**
   * Records a write to rows of `target` (a cache) that nothing else writes. Operations before and after the write read
   * `target`, so its gradient is one buffer for all of them and lives until the scope ends, unlike an output's.
   * @param backward adds the written rows of the target's gradient to that of every input that `g.needsGrad`
   */
  recordWrite(
    target: Tensor,
    inputs: readonly Tensor[],
    backward: (d_target: Tensor) => void,
  ): void {
    if (!inputs.some((x) => this.needsGrad(x))) return;
    if (!this.needsGrad(target)) this.#outermost().#needed.add(target); // later blocks read it too
    const run = () => {
      const d_target = this.gradIfAny(target);
      if (d_target) backward(d_target);
    };
    this.#entries.push({ outputs: [], backward: run });
  }

  /**
   * Declares that an operation has no backward.
   * @throws {TypeError} when a gradient would have to pass through it.
   */
  forwardOnly(operation: string, inputs: readonly Tensor[]): void {
    const wanted = inputs.find((x) => this.needsGrad(x));
    if (wanted) {
      throw new TypeError(`${operation} has no gradient, but ${wanted} needs one: stopGradient it`);
    }
  }

  /** The same numbers as a constant: no gradient flows back through the result. */
  stopGradient(x: Tensor): Tensor {
    const view = x.reshape(x.shape);
    view.gradient = undefined;
    return view;
  }

  /**
   * Runs the recorded closures in reverse, once; what they belong to is a constant from here on.
   * @param seeds what to start from: [output, its gradient]; a missing gradient means ones
   * @throws {TypeError} when nothing that leads to an output is trained, or an output is given twice.
   */
  backward(...seeds: readonly (readonly [Tensor, Tensor?])[]): void {
    for (const [out, seed] of seeds) {
      if (!this.needsGrad(out)) {
        throw new TypeError(
          `backward: nothing that leads to ${out} is trained, or its backward has run already`,
        );
      }
      if (this.gradIfAny(out)) {
        throw new TypeError(`backward: ${out} has a gradient already; name each output once`);
      }
      const d_out = this.grad(out);
      const ones = seed ?? this.scope.upload(new Float32Array(d_out.size).fill(1), d_out.shape);
      this.gpu.copy(ones, d_out);
      if (!seed) this.scope.release(ones);
    }
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const { outputs, backward } = this.#entries[i];
      const idle = outputs.length > 0 && !outputs.some((out) => this.#gradients.has(out));
      if (idle) continue; // nothing depends on it
      backward();
      for (const out of outputs) {
        const d_out = this.#gradients.get(out);
        if (!d_out) continue;
        this.#gradients.delete(out);
        this.scope.release(d_out); // every consumer has run: the memory serves the next gradient
      }
    }
    for (const { outputs } of this.#entries) {
      for (const out of outputs) this.#needed.delete(out);
    }
    this.#entries = [];
  }

  #outermost(): Graph {
    return this.#parent ? this.#parent.#outermost() : this;
  }
}
