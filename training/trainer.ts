/**
 * The training loop: optimizer steps over a shuffled stream of rows, validation at the ends of epochs, checkpoints.
 *
 * A step is one submit, and its losses are read one step later, so that the device never waits for the host. Every draw
 * is a function of seed and batch number and the data order one of seed and epoch, so a resumed run repeats what the
 * interrupted one would have done, bit for bit. A loss that is not finite ends the run before anything is saved.
 */
import { Graph } from "../autograd/tape.ts";
import { BatchStream, type DataPosition } from "../data/batch.ts";
import type { QsaDataset } from "../data/qsa.ts";
import type { Gpu, Readback } from "../gpu/device.ts";
import type { CheckpointFolder } from "../io/checkpoint_folder.ts";
import type { RunState } from "../io/checkpoint.ts";
import type { Config } from "../io/config.ts";
import type { Progress } from "../io/progress.ts";
import type { Report } from "../io/report.ts";
import type { Method } from "../models/method.ts";
import { AdamW } from "./adamw.ts";
import { learningRate, runLength, type Schedule, scheduleOf } from "./schedule.ts";
import { type NamedCheckpoint, readTensors } from "./tensors.ts";
import { checkMonitor, validate } from "./validate.ts";

/** What a run trains, and with what. */
export interface TrainOptions {
  readonly gpu: Gpu;
  readonly method: Method;
  readonly config: Config;
  readonly dataset: Pick<QsaDataset, "train" | "val">;
  readonly report: Report;
  /** Where checkpoints go; without it none are saved. */
  readonly checkpoints?: CheckpointFolder;
  /** What checkpoints keep besides: JSON. */
  readonly notes?: Readonly<Record<string, unknown>>;
  /** Goes on from here; its tensors are the method's already. */
  readonly resume?: NamedCheckpoint;
  /** Aborting it saves `last` and ends the run. */
  readonly signal?: AbortSignal;
  /** Called when a step has been submitted. */
  readonly onStep?: (step: number) => void;
}

/** Where a run stands; a checkpoint's state. */
interface Position extends RunState {
  /** Epochs done. */
  epoch: number;
  step: number;
  /** Batches seen in the epoch, and in the whole run. */
  epochBatch: number;
  batch: number;
  data: DataPosition;
  /** The step of the last validation; -1 before the first. */
  validatedStep: number;
}

/** A submitted step whose losses are still to be read. */
interface Pending {
  readonly step: number;
  readonly names: readonly string[];
  /** Losses of each batch, in the order of `names`. */
  readonly losses: readonly Readback[];
  readonly norm: Readback | undefined;
  readonly values: Readonly<Record<string, number>>;
}

const START: Position = {
  epoch: 0,
  step: 0,
  epochBatch: 0,
  batch: 0,
  data: { epoch: 0, index: 0 },
  validatedStep: -1,
};

/**
 * Trains a method to the end of its run, or until the signal.
 * @returns steps done, and whether the signal ended it
 * @throws {RangeError} for a loss that is not finite, naming the step, or a monitor that does not exist; {Error} when a
 * checkpoint or log cannot be written.
 */
export async function train(
  options: TrainOptions,
): Promise<{ step: number; isInterrupted: boolean }> {
  using run = new TrainingRun(options);
  return await run.train();
}

class TrainingRun implements Disposable {
  readonly #optimizer: AdamW;
  readonly #stream: BatchStream;
  readonly #length: { readonly batchesPerEpoch: number; readonly numSteps: number };
  readonly #schedule: Schedule;
  readonly #position: Position;
  #pending: Pending | undefined;

  constructor(private readonly options: TrainOptions) {
    const { gpu, method, config, dataset, resume } = options;
    const { lr, weight_decay: weightDecay } = config.model.training_kwargs.optimizer;
    this.#length = runLength(config, dataset.train.length);
    this.#schedule = scheduleOf(config, this.#length.numSteps);
    this.#position = { ...START, ...resume?.checkpoint.state };
    this.#stream = new BatchStream({
      numRows: dataset.train.length,
      batchSize: config.dataloader.batch_size,
      seed: config.seed,
      position: this.#position.data,
    });
    checkMonitor(config, method);
    this.#optimizer = new AdamW(gpu, method.parameters, { lr, weightDecay });
    if (!resume) return;
    if (!resume.checkpoint.optimizer) {
      throw new RangeError(
        `'${resume.path}' has no optimizer to go on with; start from it with --load_ckpt_path`,
      );
    }
    this.#optimizer.writeState(resume.checkpoint.optimizer);
  }

  [Symbol.dispose](): void {
    this.#optimizer[Symbol.dispose]();
  }

  async train(): Promise<{ step: number; isInterrupted: boolean }> {
    const { report } = this.options;
    const progress = { label: "train", total: this.#length.numSteps, start: this.#position.step };
    const isInterrupted = await report.progress(progress, (bar) => this.#loop(bar));
    return { step: this.#position.step, isInterrupted };
  }

  /** @returns whether the signal ended it */
  async #loop(bar: Progress): Promise<boolean> {
    const { signal, onStep } = this.options;
    const position = this.#position;
    try {
      for (;;) {
        signal?.throwIfAborted();
        const isDone = position.step >= this.#length.numSteps;
        const isEpochEnd = position.epochBatch >= this.#length.batchesPerEpoch;
        if (isDone || isEpochEnd) await this.#endEpoch(isDone, isEpochEnd, bar);
        if (isDone) return false;
        const next = this.#step();
        onStep?.(position.step);
        await this.#settle(bar);
        this.#pending = next;
      }
    } catch (error) {
      if (!signal?.aborted || error !== signal.reason) throw error;
      await this.#settle(bar);
      await this.#save();
      return true;
    }
  }

  async #endEpoch(isDone: boolean, isEpochEnd: boolean, bar: Progress): Promise<void> {
    const position = this.#position;
    const { check_val_every_n_epoch: every } = this.options.config.trainer;
    await this.#settle(bar);
    if (position.validatedStep === position.step) return;
    const isDue = isDone || (position.epoch + 1) % every === 0;
    const monitor = isDue ? await validate(this.options, position.step) : undefined;
    if (isDue) position.validatedStep = position.step;
    // Only now: a run that is interrupted during validation validates again.
    if (isEpochEnd) [position.epoch, position.epochBatch] = [position.epoch + 1, 0];
    await this.#save(monitor);
    this.options.gpu.pool.trim(); // validation left buffers of sizes that training has no use for
  }

  /** Records and submits one optimizer step. */
  #step(): Pending {
    const { gpu, config: { trainer } } = this.options;
    const position = this.#position;
    const { accumulate_grad_batches: accumulate, gradient_clip_val: maxNorm } = trainer;
    const count = Math.min(accumulate, this.#length.batchesPerEpoch - position.epochBatch);
    this.#optimizer.zeroGrad();
    const batches = Array.from({ length: count }, () => this.#batch(accumulate));
    const norm = maxNorm === null ? undefined : this.#optimizer.clipGradNorm(maxNorm);
    const lr = learningRate(position.step, this.#schedule);
    this.#optimizer.step({ lr });
    const normRead = norm && gpu.readback(norm);
    gpu.submit();
    position.step++;
    position.data = this.#stream.position;
    const tokens = batches.reduce((sum, { numTokens }) => sum + numTokens, 0);
    const values = { lr, epoch: position.epoch, tokens };
    const [{ names }] = batches;
    return {
      step: position.step,
      names,
      losses: batches.map((b) => b.losses),
      norm: normRead,
      values,
    };
  }

  /** Records forward and backward of one batch, and the read of its losses. */
  #batch(accumulate: number) {
    const { gpu, method, config, dataset } = this.options;
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const rows = Array.from(this.#stream.next().rows, (row) => dataset.train[row]);
    const draw = { seed: config.seed, step: this.#position.batch };
    const { total, parts, numTokens } = method.loss(g, rows, draw);
    const all = [total, ...Object.values(parts)];
    const packed = scope.empty([all.length]); // one read instead of several
    all.forEach((loss, i) => gpu.copy(loss, packed.rows(i, i + 1)));
    const losses = gpu.readback(packed);
    g.backward([total, scope.upload(Float32Array.of(1 / accumulate))]);
    this.#position.batch++;
    this.#position.epochBatch++;
    return { names: ["loss", ...Object.keys(parts)], losses, numTokens };
  }

  /** Reads and logs the step that is pending. */
  async #settle(bar: Progress): Promise<void> {
    const pending = this.#pending;
    if (!pending) return;
    this.#pending = undefined;
    const { step, names, losses, norm, values } = pending;
    const reads = await Promise.all([...losses, ...norm ? [norm] : []].map((read) => read.data()));
    const means = names.map((name, i) => {
      const sum = reads.slice(0, losses.length).reduce((total, read) => total + read[i], 0);
      return [name, sum / losses.length] as const;
    });
    if (norm) means.push(["grad_norm", reads[losses.length][0]]);
    const bad = means.find(([, value]) => !Number.isFinite(value));
    const logged: Record<string, number> = { ...Object.fromEntries(means), ...values };
    this.options.report.log.step(step, logged);
    bar.update(step, { tokens: values.tokens, loss: logged.loss });
    if (bad) throw notFinite(step, bad, this.options.checkpoints);
  }

  async #save(monitor?: number): Promise<void> {
    const { gpu, method, config, checkpoints, report, notes } = this.options;
    if (!checkpoints) return;
    report.log.sync();
    const tensors = await readTensors(gpu, method.parameters);
    const optimizer = await this.#optimizer.readState();
    const state = { ...this.#position, ...notes };
    await checkpoints.save({ tensors, optimizer, state, config, monitor });
  }
}

function notFinite(
  step: number,
  [name, value]: readonly [string, number],
  checkpoints: CheckpointFolder | undefined,
): RangeError {
  const kept = checkpoints ? `checkpoints of earlier steps stay in ${checkpoints.path}; ` : "";
  const next = "set a smaller lr or gradient_clip_val=1 and start again";
  return new RangeError(`step ${step}: ${name} is ${value}; ${kept}${next}`);
}
