/**
 * CoLaR's latent head: a diagonal Gaussian over the next input embedding, in units of the embeddings' scale, from the
 * last hidden state.
 *
 *   h = LayerNorm(W2 gelu(W0 x + b0) + b2),  mean = Wm h + bm,  log_std = Ws h + bs
 *
 * With `deterministic` there is no log_std and the standard deviation is 1e-9 (ablation DL).
 *
 * Source: the published CoLaR code (modules/projector.py: LatentPolicy), whose tensor names these are; initial values
 * are those of torch.nn.Linear and torch.nn.LayerNorm.
 */
import type { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { gather } from "../ops/gather.ts";
import { gelu } from "../ops/gelu.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import { linear } from "../ops/linear.ts";
import { rowKey } from "../ops/random.ts";
import { STREAMS, symmetricUniforms } from "./draws.ts";
import type { TrainedTensor } from "./method.ts";

const NORM_EPS = 1e-5;
const DETERMINISTIC_STD = 1e-9;

/** Sizes and form of the head. */
export interface LatentHeadOptions {
  /** D, of the backbone. */
  readonly hiddenSize: number;
  /** Width of the two hidden layers. */
  readonly intermediateSize: number;
  readonly deterministic: boolean;
  /** Keys the initial values. */
  readonly seed: number;
}

/** A Gaussian for each row. */
export interface Gaussian {
  /** [N, D] */
  readonly mean: Tensor;
  /** [N, D] */
  readonly logStd: Tensor;
}

/** The head with its parameters; disposing gives their memory back. */
export class LatentHead implements Disposable {
  /** Under the published names, `latent_policy.fc.0.weight` and so on. */
  readonly parameters: TrainedTensor[] = [];
  #scope: Scope;
  #tensors = new Map<string, Tensor>();
  #constantLogStd: Tensor | undefined;

  constructor(gpu: Gpu, private readonly options: LatentHeadOptions) {
    const { hiddenSize: D, intermediateSize: F, deterministic } = options;
    this.#scope = gpu.scope();
    this.#linear("fc.0", D, F);
    this.#linear("fc.2", F, F);
    this.#parameter("fc.3.weight", new Float32Array(F).fill(1), [F]);
    this.#parameter("fc.3.bias", new Float32Array(F), [F]);
    this.#linear("mean", F, D);
    if (deterministic) {
      const row = new Float32Array(D).fill(Math.log(DETERMINISTIC_STD));
      this.#constantLogStd = this.#scope.upload(row, [1, D]);
    } else this.#linear("log_std", F, D);
  }

  /**
   * The Gaussian over the next input embedding.
   * @param hidden [N, D], after the final norm
   */
  forward(g: Graph, hidden: Tensor): Gaussian {
    const inner = gelu(g, this.#apply(g, "fc.0", hidden), "erf"); // [N, F]
    const outer = this.#apply(g, "fc.2", inner);
    const norm = [this.#get("fc.3.weight"), this.#get("fc.3.bias")] as const;
    const h = layerNorm(g, outer, ...norm, NORM_EPS); // [N, F]
    const logStd = this.#constantLogStd
      ? gather(g, this.#constantLogStd, new Uint32Array(hidden.shape[0]))
      : this.#apply(g, "log_std", h);
    return { mean: this.#apply(g, "mean", h), logStd };
  }

  [Symbol.dispose](): void {
    this.#scope[Symbol.dispose]();
  }

  #linear(name: string, inputs: number, outputs: number): void {
    const stream = STREAMS.initial + this.parameters.length;
    const bound = 1 / Math.sqrt(inputs);
    const weight = new Float32Array(outputs * inputs);
    for (let row = 0; row < outputs; row++) {
      const key = rowKey(this.options.seed, stream, row, 0);
      weight.set(symmetricUniforms(key, inputs, bound), row * inputs);
    }
    const biasKey = rowKey(this.options.seed, stream + 1, 0, 0);
    this.#parameter(`${name}.weight`, weight, [outputs, inputs]);
    this.#parameter(`${name}.bias`, symmetricUniforms(biasKey, outputs, bound), [outputs]);
  }

  #parameter(name: string, data: Float32Array, shape: readonly number[]): void {
    const fullName = `latent_policy.${name}`;
    const tensor = this.#scope.upload(data, shape, fullName);
    tensor.gradient = this.#scope.zeros(shape, "f32", `d_${fullName}`);
    this.#tensors.set(name, tensor);
    this.parameters.push({ name: fullName, tensor });
  }

  #get(name: string): Tensor {
    return this.#tensors.get(name)!;
  }

  #apply(g: Graph, name: string, x: Tensor): Tensor {
    return linear(g, x, this.#get(`${name}.weight`), { bias: this.#get(`${name}.bias`) });
  }
}
