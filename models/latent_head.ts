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
import type { Tensor } from "../gpu/tensor.ts";
import { scale } from "../ops/add.ts";
import { sampleGaussian } from "../ops/gaussian.ts";
import { gather } from "../ops/gather.ts";
import { gelu } from "../ops/gelu.ts";
import type { GaussianPart } from "./latent_trace.ts";
import { Layers } from "./layers.ts";
import type { TrainedTensor } from "./method.ts";
import type { Propose, ThinkingDraws } from "./thinking.ts";

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
  #layers: Layers;
  #constantLogStd: Tensor | undefined;

  constructor(gpu: Gpu, { hiddenSize: D, intermediateSize: F, ...options }: LatentHeadOptions) {
    this.#layers = new Layers(gpu, "latent_policy", options.seed);
    this.#layers.addLinear("fc.0", D, F);
    this.#layers.addLinear("fc.2", F, F);
    this.#layers.addNorm("fc.3", F);
    this.#layers.addLinear("mean", F, D);
    if (options.deterministic) {
      const row = new Float32Array(D).fill(Math.log(DETERMINISTIC_STD));
      this.#constantLogStd = this.#layers.scope.upload(row, [1, D]);
    } else this.#layers.addLinear("log_std", F, D);
  }

  /** Under the published names, `latent_policy.fc.0.weight` and so on. */
  get parameters(): readonly TrainedTensor[] {
    return this.#layers.parameters;
  }

  /**
   * The Gaussian over the next input embedding.
   * @param hidden [N, D], after the final norm
   */
  forward(g: Graph, hidden: Tensor): Gaussian {
    const layers = this.#layers;
    const inner = gelu(g, layers.linear(g, "fc.0", hidden), "erf"); // [N, F]
    const h = layers.norm(g, "fc.3", layers.linear(g, "fc.2", inner)); // [N, F]
    const logStd = this.#constantLogStd
      ? gather(g, this.#constantLogStd, new Uint32Array(hidden.shape[0]))
      : layers.linear(g, "log_std", h);
    return { mean: layers.linear(g, "mean", h), logStd };
  }

  [Symbol.dispose](): void {
    this.#layers[Symbol.dispose]();
  }
}

/** How latents are drawn. */
export interface DrawnLatentOptions {
  /** Scale of the embeddings, in whose units the head predicts. */
  readonly embedsStd: number;
  /** Factor of the standard deviation. */
  readonly latentTemperature: number;
  /** Absent: latents are means. */
  readonly draws: Pick<ThinkingDraws, "eps"> | undefined;
}

/** Latents that a head predicts, drawn or their means. */
export function drawnLatents(
  head: LatentHead,
  { embedsStd, latentTemperature, draws }: DrawnLatentOptions,
): Propose<GaussianPart> {
  return (g, hidden, rows, latent) => {
    const { mean, logStd } = head.forward(g, hidden);
    const z = draws
      ? sampleGaussian(g, mean, logStd, draws.eps(g, rows, latent), latentTemperature)
      : mean;
    return { embeds: scale(g, z, embedsStd), kept: { mean, logStd } };
  };
}
