/**
 * Small trained modules beside the backbone: linear layers and layer norms by name, with the initial values of
 * torch.nn.Linear and torch.nn.LayerNorm.
 */
import type { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import { linear } from "../ops/linear.ts";
import { rowKey } from "../ops/random.ts";
import { STREAMS, symmetricUniforms } from "./draws.ts";
import type { TrainedTensor } from "./method.ts";

const NORM_EPS = 1e-5;

/** The layers of one module with their memory; disposing gives it back. */
export class Layers implements Disposable {
  /** In the order in which they were added. */
  readonly parameters: TrainedTensor[] = [];
  readonly scope: Scope;
  #tensors = new Map<string, Tensor>();

  /**
   * @param prefix what stands before every name in a checkpoint, `latent_policy`
   * @param seed keys the initial values, together with the number of parameters before
   */
  constructor(gpu: Gpu, private readonly prefix: string, private readonly seed: number) {
    this.scope = gpu.scope();
  }

  /** Adds `name.weight` [outputs, inputs] and `name.bias` [outputs], uniform in +-1/sqrt(inputs). */
  addLinear(name: string, inputs: number, outputs: number): void {
    const stream = STREAMS.initial + this.parameters.length;
    const bound = 1 / Math.sqrt(inputs);
    const weight = new Float32Array(outputs * inputs);
    for (let row = 0; row < outputs; row++) {
      const key = rowKey(this.seed, stream, row, 0);
      weight.set(symmetricUniforms(key, inputs, bound), row * inputs);
    }
    const biasKey = rowKey(this.seed, stream + 1, 0, 0);
    this.#add(`${name}.weight`, weight, [outputs, inputs]);
    this.#add(`${name}.bias`, symmetricUniforms(biasKey, outputs, bound), [outputs]);
  }

  /** Adds `name.weight` [dim], ones, and `name.bias` [dim], zeros. */
  addNorm(name: string, dim: number): void {
    this.#add(`${name}.weight`, new Float32Array(dim).fill(1), [dim]);
    this.#add(`${name}.bias`, new Float32Array(dim), [dim]);
  }

  /**
   * x W^T + b.
   * @param x [N, inputs]
   * @returns [N, outputs]
   */
  linear(g: Graph, name: string, x: Tensor): Tensor {
    return linear(g, x, this.#get(`${name}.weight`), { bias: this.#get(`${name}.bias`) });
  }

  /**
   * The layer norm of each row.
   * @param x [N, dim]
   * @returns [N, dim]
   */
  norm(g: Graph, name: string, x: Tensor): Tensor {
    return layerNorm(g, x, this.#get(`${name}.weight`), this.#get(`${name}.bias`), NORM_EPS);
  }

  [Symbol.dispose](): void {
    this.scope[Symbol.dispose]();
  }

  #add(name: string, data: Float32Array, shape: readonly number[]): void {
    const fullName = `${this.prefix}.${name}`;
    const tensor = this.scope.upload(data, shape, fullName);
    tensor.gradient = this.scope.zeros(shape, "f32", `d_${fullName}`);
    this.#tensors.set(name, tensor);
    this.parameters.push({ name: fullName, tensor });
  }

  #get(name: string): Tensor {
    return this.#tensors.get(name)!;
  }
}
