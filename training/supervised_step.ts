/** A step on rows: the gradients of one or several batches' losses, then one step of the optimizer, all in one submit. */
import { Graph } from "../autograd/tape.ts";
import type { Gpu, Readback } from "../gpu/device.ts";
import type { Config } from "../io/config.ts";
import type { Losses, Method } from "../models/method.ts";
import type { AdamW } from "./adamw.ts";
import {
  namingRows,
  type StepPlace,
  type SubmittedStep,
  type TrainBatch,
  type TrainingStep,
} from "./training_step.ts";

/** The step; see the head of this file. */
export class SupervisedStep implements TrainingStep {
  constructor(
    private readonly gpu: Gpu,
    private readonly method: Method,
    private readonly config: Config,
    private readonly optimizer: AdamW,
  ) {}

  run(batches: readonly TrainBatch[], place: StepPlace): SubmittedStep {
    const { gpu, optimizer, config: { trainer: { gradient_clip_val: maxNorm } } } = this;
    optimizer.zeroGrad();
    const recorded = batches.map((batch, i) => this.#batch(batch, place, i));
    const norm = maxNorm === null ? undefined : optimizer.clipGradNorm(maxNorm);
    optimizer.step({ lr: place.lr });
    const normRead = norm && gpu.readback(norm);
    gpu.submit();
    const tokens = recorded.reduce((sum, { numTokens }) => sum + numTokens, 0);
    const [{ names }] = recorded;
    return {
      tokens,
      values: async () => {
        const means = await meanLosses(names, recorded.map(({ losses }) => losses));
        return normRead ? { ...means, grad_norm: (await normRead.data())[0] } : means;
      },
    };
  }

  /** Records forward and backward of one batch, and the read of its losses. */
  #batch({ rows, numbers }: TrainBatch, { epoch, progress, batch }: StepPlace, index: number) {
    const { gpu, method, config } = this;
    using scope = gpu.scope();
    const draw = { seed: config.seed, step: batch + index, epoch, progress };
    const g = new Graph(gpu, scope, { draw });
    const losses = namingRows(numbers, () => method.loss(g, rows, draw));
    const read = readLosses(g, losses);
    const share = Float32Array.of(1 / config.trainer.accumulate_grad_batches);
    g.backward([losses.total, scope.upload(share)]);
    return { ...read, numTokens: losses.numTokens };
  }
}

/** Losses whose read is recorded: their names, `loss` first, and one read for all. */
export interface ReadLosses {
  readonly names: readonly string[];
  readonly losses: Readback;
}

/** Records the read of a batch's losses: one instead of several. */
export function readLosses(
  g: Graph,
  { total, parts }: Pick<Losses, "total" | "parts">,
): ReadLosses {
  const all = [total, ...Object.values(parts)];
  const packed = g.empty([all.length]);
  all.forEach((loss, i) => g.gpu.copy(loss, packed.rows(i, i + 1)));
  return { names: ["loss", ...Object.keys(parts)], losses: g.gpu.readback(packed) };
}

/** Means over batches, by name. */
export async function meanLosses(
  names: readonly string[],
  losses: readonly Readback[],
): Promise<Record<string, number>> {
  const reads = await Promise.all(losses.map((read) => read.data()));
  return Object.fromEntries(names.map((name, i) => {
    const sum = reads.reduce((total, read) => total + read[i], 0);
    return [name, sum / losses.length];
  }));
}
