/**
 * AdamW over the trained parameters, and clipping of their global gradient norm, all on the device.
 *
 * The arithmetic is torch.optim.AdamW's (decoupled decay; bias corrections in float64 on the host) and
 * torch.nn.utils.clip_grad_norm_'s. Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
 */
import type { Gpu } from "../gpu/device.ts";
import { kernel } from "../gpu/kernel.ts";
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";
import stepSource from "../kernels/adamw_step.wgsl" with { type: "text" };
import squaresSource from "../kernels/gradient_norm_squares.wgsl" with { type: "text" };
import totalSource from "../kernels/gradient_norm_total.wgsl" with { type: "text" };
import scaleSource from "../kernels/gradient_scale.wgsl" with { type: "text" };

const stepKernel = kernel("kernels/adamw_step.wgsl", stepSource);
const squaresKernel = kernel("kernels/gradient_norm_squares.wgsl", squaresSource);
const totalKernel = kernel("kernels/gradient_norm_total.wgsl", totalSource);
const scaleKernel = kernel("kernels/gradient_scale.wgsl", scaleSource);

const BLOCK = 4096; // numbers of a gradient whose squares one workgroup adds up
const SUMS_PER_BLOCK = 8;

/** A trained tensor (f32, with its gradient) and the name that checkpoints know it by. */
export interface Parameter {
  readonly name: string;
  readonly tensor: Tensor;
}

/** Numbers of AdamW; the defaults are torch's. */
export interface AdamWOptions {
  /** Learning rate, unless a step is given another. */
  readonly lr: number;
  /** Decay rates of the two moments. @default {[0.9, 0.999]} */
  readonly betas?: readonly [number, number];
  /** Added to the root of the second moment. @default {1e-8} */
  readonly eps?: number;
  /** Decay of the parameters themselves, per step and unit of learning rate. @default {0.01} */
  readonly weightDecay?: number;
}

/** What a checkpoint keeps of an optimizer: steps done and both moments by parameter name. */
export interface AdamWState {
  readonly step: number;
  readonly moments: ReadonlyMap<string, Moments>;
}

/** Running means of one parameter's gradient and of its square. */
export interface Moments {
  readonly expAvg: Float32Array;
  readonly expAvgSq: Float32Array;
}

/** A range of one parameter that fits one binding. */
interface Piece {
  readonly x: Tensor;
  readonly d_x: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
}

/** AdamW; owns the moments, which live until it is disposed of. */
export class AdamW {
  #step = 0;
  #scope: Scope;
  #options: Required<AdamWOptions>;
  #moments = new Map<string, { m: Tensor; v: Tensor }>();
  #pieces: Piece[] = [];
  #squares: Tensor;
  #norm: Tensor;
  #coefficient: Tensor;

  /**
   * @param parameters what to train; a tied tensor appears once
   * @throws {TypeError} for a tensor that is not f32, has no gradient or appears twice; {RangeError} for a number
   * out of range.
   */
  constructor(
    private readonly gpu: Gpu,
    readonly parameters: readonly Parameter[],
    options: AdamWOptions,
  ) {
    const { lr, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01 } = options;
    this.#options = { lr, betas, eps, weightDecay };
    checkOptions(this.#options);
    checkParameters(parameters);
    this.#scope = gpu.scope();
    for (const { name, tensor } of parameters) {
      const m = this.#scope.zeros(tensor.shape, "f32", `exp_avg of ${name}`);
      const v = this.#scope.zeros(tensor.shape, "f32", `exp_avg_sq of ${name}`);
      this.#moments.set(name, { m, v });
      this.#pieces.push(...this.#split(tensor, m, v));
    }
    const blocks = this.#pieces.reduce((sum, { x }) => sum + Math.ceil(x.size / BLOCK), 0);
    this.#squares = this.#scope.empty([SUMS_PER_BLOCK * blocks]);
    this.#norm = this.#scope.zeros([1]);
    this.#coefficient = this.#scope.zeros([1]);
  }

  /** Number of steps done. */
  get numSteps(): number {
    return this.#step;
  }

  /**
   * Records one step from the gradients as they are; they stay until `zeroGrad`.
   * @param options.lr this step's learning rate
   */
  step({ lr = this.#options.lr }: { readonly lr?: number } = {}): void {
    const { betas: [beta1, beta2], eps, weightDecay } = this.#options;
    this.#step++;
    const numbers = {
      decay: 1 - lr * weightDecay,
      step_size: lr / (1 - beta1 ** this.#step),
      correction: Math.sqrt(1 - beta2 ** this.#step),
      eps,
      beta1_rest: 1 - beta1,
      beta2,
      beta2_rest: 1 - beta2,
    };
    for (const { x, d_x, m, v } of this.#pieces) {
      const { size } = x;
      this.gpu.run(stepKernel, { x, d_x, m, v }, { size, ...numbers }, Math.ceil(size / 256));
    }
  }

  /**
   * Records that all gradients are scaled by min(1, maxNorm / (norm + 1e-6)), norm being their L2 norm as one vector.
   * @returns [1], the norm before the scaling, valid until the next call
   * @throws {RangeError} when maxNorm is not positive.
   */
  clipGradNorm(maxNorm: number): Tensor {
    if (!(maxNorm > 0)) {
      throw new RangeError(`clipGradNorm: maxNorm must be above 0, got ${maxNorm}`);
    }
    const [squares, norm, coefficient] = [this.#squares, this.#norm, this.#coefficient];
    let first = 0;
    for (const { d_x } of this.#pieces) {
      const blocks = Math.ceil(d_x.size / BLOCK);
      this.gpu.run(squaresKernel, { d_x, squares }, { size: d_x.size, first }, blocks);
      first += SUMS_PER_BLOCK * blocks;
    }
    const params = { count: first, max_norm: maxNorm };
    this.gpu.run(totalKernel, { squares, norm, coefficient }, params, 1);
    for (const { d_x } of this.#pieces) {
      const { size } = d_x;
      this.gpu.run(scaleKernel, { d_x, coefficient }, { size }, Math.ceil(size / 256));
    }
    return norm;
  }

  /** Records that all gradients become zero. */
  zeroGrad(): void {
    for (const { d_x } of this.#pieces) this.gpu.clear(d_x);
  }

  /** Reads the state back, for a checkpoint. */
  async readState(): Promise<AdamWState> {
    const reads = [...this.#moments].map(([name, { m, v }]) => ({
      name,
      m: this.gpu.readback(m),
      v: this.gpu.readback(v),
    }));
    const moments = new Map<string, Moments>();
    for (const { name, m, v } of reads) {
      const [expAvg, expAvgSq] = [await m.data(), await v.data()] as Float32Array[];
      moments.set(name, { expAvg, expAvgSq });
    }
    return { step: this.#step, moments };
  }

  /**
   * Puts a checkpoint's state back.
   * @throws {TypeError} when a parameter's moments are missing or of another size; {RangeError} when the step is no
   * count. Nothing is changed then.
   */
  writeState({ step, moments }: AdamWState): void {
    if (!Number.isSafeInteger(step) || step < 0) {
      throw new RangeError(`AdamW: step must be a whole number >= 0, got ${step}`);
    }
    for (const [name, { m }] of this.#moments) {
      const found = moments.get(name);
      if (found?.expAvg.length === m.size && found.expAvgSq.length === m.size) continue;
      throw new TypeError(
        `AdamW: the state has ${found ? found.expAvg.length : "no"} moments of '${name}', ` +
          `expected ${m.size}: was it saved from another model?`,
      );
    }
    this.#step = step;
    for (const [name, { m, v }] of this.#moments) {
      const { expAvg, expAvgSq } = moments.get(name)!;
      this.gpu.write(m, expAvg);
      this.gpu.write(v, expAvgSq);
    }
  }

  /** Gives the moments' memory back. */
  [Symbol.dispose](): void {
    this.#scope[Symbol.dispose]();
  }

  #split(tensor: Tensor, m: Tensor, v: Tensor): Piece[] {
    const { size } = tensor;
    // 64 numbers are 256 bytes: the strictest alignment that WebGPU asks of a binding.
    const length = Math.max(64, Math.floor(this.gpu.limits.maxBinding / 256) * 64);
    const flat = [tensor, tensor.gradient!, m, v].map((t) => t.reshape([size]));
    return Array.from({ length: Math.ceil(size / length) }, (_, i) => {
      const end = Math.min(size, (i + 1) * length);
      const [x, d_x, m, v] = flat.map((t) => t.rows(i * length, end));
      return { x, d_x, m, v };
    });
  }
}

function checkOptions({ lr, betas, eps, weightDecay }: Required<AdamWOptions>): void {
  const inRange = { lr: lr >= 0, eps: eps >= 0, weightDecay: weightDecay >= 0 };
  const values: Record<string, number> = { lr, eps, weightDecay };
  for (const [name, fine] of Object.entries(inRange)) {
    if (!fine) throw new RangeError(`AdamW: ${name} must be 0 or above, got ${values[name]}`);
  }
  if (!betas.every((beta) => beta >= 0 && beta < 1)) {
    throw new RangeError(`AdamW: betas must be from 0 to below 1, got ${betas.join(", ")}`);
  }
}

function checkParameters(parameters: readonly Parameter[]): void {
  const names = new Set<string>();
  const gradients = new Set<Tensor>();
  for (const { name, tensor } of parameters) {
    if (tensor.dtype !== "f32") {
      throw new TypeError(`AdamW: '${name}' is ${tensor}; train f32 tensors or freeze it`);
    }
    if (!tensor.gradient) {
      throw new TypeError(`AdamW: '${name}' has no gradient; give it one or leave it out`);
    }
    if (names.has(name) || gradients.has(tensor.gradient)) {
      throw new TypeError(`AdamW: '${name}' appears twice; list a tied tensor once`);
    }
    names.add(name);
    gradients.add(tensor.gradient);
  }
}
