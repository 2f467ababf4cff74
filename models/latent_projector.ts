/**
 * The projector that makes the next latent of a hidden state, in Distill and CODI:
 *
 *   z = W2 gelu(W0 h + b0) + b2,  in CODI normalised: LayerNorm(z)
 *
 * Source: the published CoLaR code (modules/projector.py: MLPProjector), whose names proj.0 and proj.2 are; Shen et al.,
 * CODI, arXiv 2502.21074, whose code (zhenyi4/codi) adds the norm as the module `ln`. Initial values are those of
 * torch.nn.Linear and torch.nn.LayerNorm.
 */
import type { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { gelu } from "../ops/gelu.ts";
import { Layers } from "./layers.ts";
import type { TrainedTensor } from "./method.ts";

/** Sizes and form of the projector. */
export interface LatentProjectorOptions {
  /** D, of the backbone. */
  readonly hiddenSize: number;
  /** Width of the hidden layer. */
  readonly intermediateSize: number;
  /** Whether a layer norm follows. */
  readonly layerNorm: boolean;
  /** Keys the initial values. */
  readonly seed: number;
}

/** The projector with its parameters; disposing gives their memory back. */
export class LatentProjector implements Disposable {
  #layers: Layers;
  #hasNorm: boolean;

  constructor(gpu: Gpu, options: LatentProjectorOptions) {
    const { hiddenSize: D, intermediateSize: F, layerNorm, seed } = options;
    this.#layers = new Layers(gpu, "latent_proj.proj", seed);
    this.#layers.addLinear("0", D, F);
    this.#layers.addLinear("2", F, D);
    if (layerNorm) this.#layers.addNorm("ln", D);
    this.#hasNorm = layerNorm;
  }

  /** Under the published names, `latent_proj.proj.0.weight` and so on. */
  get parameters(): readonly TrainedTensor[] {
    return this.#layers.parameters;
  }

  /**
   * The next latent, as it is fed.
   * @param hidden [N, D], after the final norm
   * @returns [N, D]
   */
  forward(g: Graph, hidden: Tensor): Tensor {
    const inner = gelu(g, this.#layers.linear(g, "0", hidden), "erf"); // [N, F]
    const outer = this.#layers.linear(g, "2", inner);
    return this.#hasNorm ? this.#layers.norm(g, "ln", outer) : outer;
  }

  [Symbol.dispose](): void {
    this.#layers[Symbol.dispose]();
  }
}
