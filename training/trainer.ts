/**
 * The training loop: steps over a shuffled stream of rows, validation at the ends of epochs, checkpoints.
 *
 * What a step does is in supervised_step.ts and grpo_step.ts. Its losses are read one step later, or on a real GPU those
 * of eight steps together, so that the device rarely waits for the host. Every draw is a function of seed and batch
 * number and the data order one of seed and epoch, so a resumed run repeats what the interrupted one would have done,
 * bit for bit. A loss that is not finite ends the run before anything is saved.
 */
import { BatchStream, type DataPosition } from "../data/batch.ts";
import type { QsaDataset } from "../data/qsa.ts";
import type { Gpu } from "../gpu/device.ts";
import type { CheckpointFolder } from "../io/checkpoint_folder.ts";
import type { RunState } from "../io/checkpoint.ts";
import type { Config } from "../io/config.ts";
import { checkCombinations } from "../io/config_rules.ts";
import type { Progress } from "../io/progress.ts";
import type { Report } from "../io/report.ts";
import type { Method } from "../models/method.ts";
import { AdamW, type AdamWState } from "./adamw.ts";
import { GrpoStep } from "./grpo_step.ts";
import {
  type QuestionSample,
  questionSample,
  reinforcementOf,
  unsolvedQuestions,
} from "./question_sample.ts";
import { learningRate, runLength, type Schedule, scheduleOf } from "./schedule.ts";
import { SupervisedStep } from "./supervised_step.ts";
import { type NamedCheckpoint, readTensors } from "./tensors.ts";
import type { SubmittedStep, TrainBatch, TrainingStep } from "./training_step.ts";
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
  /** Rows that reinforcement may ask, where it was filtered. */
  kept?: readonly number[];
}

/** A submitted step whose losses are still to be read. */
interface Pending {
  readonly step: number;
  readonly submitted: SubmittedStep;
  readonly lr: number;
  readonly epoch: number;
}

const GPU_STEPS_PER_READ = 8;

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
  using run = new TrainingRun(options, await keptQuestions(options));
  return await run.train();
}

/** The rows that `filter_dataset` leaves; undefined for all, or when the signal ended the search. */
async function keptQuestions(options: TrainOptions): Promise<readonly number[] | undefined> {
  const { config, method: { policy }, dataset, report, resume, signal } = options;
  const rl = reinforcementOf(config);
  const known = resume?.checkpoint.state.kept as readonly number[] | undefined;
  if (known || !rl?.filter_dataset || !policy) return known;
  return await unsolvedQuestions({ policy, config, rl, signal }, dataset.train, report);
}

class TrainingRun implements Disposable {
  readonly #optimizer: AdamW;
  readonly #kind: TrainingStep;
  readonly #questions: QuestionSample | undefined;
  readonly #stream: BatchStream;
  readonly #length: { readonly batchesPerEpoch: number; readonly numSteps: number };
  readonly #schedule: Schedule;
  readonly #position: Position;
  #pending: Pending[] = [];

  constructor(private readonly options: TrainOptions, kept: readonly number[] | undefined) {
    const { gpu, method, config, dataset, resume } = options;
    const { lr, weight_decay: weightDecay } = config.model.training_kwargs.optimizer;
    this.#questions = questionSample(config, dataset.train.length, kept);
    const numRows = this.#questions?.length ?? dataset.train.length;
    this.#length = runLength(config, numRows);
    this.#schedule = scheduleOf(config, this.#length.numSteps);
    this.#position = { ...START, ...resume?.checkpoint.state, ...kept ? { kept } : {} };
    this.#stream = new BatchStream({
      numRows,
      batchSize: config.dataloader.batch_size,
      seed: config.seed,
      position: this.#position.data,
    });
    checkMonitor(config, method);
    using memory = new DisposableStack(); // what follows may refuse
    this.#optimizer = memory.use(new AdamW(gpu, method.parameters, { lr, weightDecay }));
    this.#kind = kindOfStep(options, this.#optimizer);
    if (resume) this.#optimizer.writeState(optimizerOf(resume));
    memory.move();
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
        const next = await this.#keepingSteps(bar, () => this.#step(), "");
        onStep?.(position.step);
        this.#pending.push(next);
        if (this.#pending.length > this.#stepsPerRead) await this.#settle(bar, 1);
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
    const validation = () => validate(this.options, position.step);
    const monitor = isDue
      ? await this.#keepingSteps(bar, validation, ", but not validated")
      : undefined;
    if (isDue) position.validatedStep = position.step;
    // Only now: a run that is interrupted during validation validates again.
    if (isEpochEnd) [position.epoch, position.epochBatch] = [position.epoch + 1, 0];
    await this.#save(monitor);
    this.options.gpu.pool.trim(); // validation left buffers of sizes that training has no use for
  }

  /** Work that a row fails, one that is too long for example, must not cost the steps before it. */
  async #keepingSteps<T>(bar: Progress, work: () => Promise<T>, state: string): Promise<T> {
    const { signal, checkpoints, report } = this.options;
    const { step } = this.#position;
    try {
      return await work();
    } catch (error) {
      if (!checkpoints || signal?.aborted || step === 0 || !(error instanceof RangeError)) {
        throw error;
      }
      // The first error is the one to tell; steps that a loss of NaN spoiled are not to be saved.
      const isSaved = await this.#settle(bar).then(() => this.#save()).then(
        () => true,
        () => false,
      );
      const resume = `./denow task train --resume_ckpt_path=${checkpoints.last}`;
      if (isSaved) report.show(`step ${step} is saved${state}; go on with:\n  ${resume}`);
      throw error;
    }
  }

  /** Submits one step. */
  async #step(): Promise<Pending> {
    const { accumulate_grad_batches: accumulate } = this.options.config.trainer;
    const position = this.#position;
    const { step, batch, epoch } = position;
    const count = Math.min(accumulate, this.#length.batchesPerEpoch - position.epochBatch);
    const batches = Array.from({ length: count }, () => this.#batch());
    const progress = step / this.#length.numSteps;
    const lr = learningRate(step, this.#schedule);
    const submitted = await this.#kind.run(batches, { step, batch, epoch, progress, lr });
    position.step++;
    position.batch += count;
    position.epochBatch += count;
    position.data = this.#stream.position;
    return { step: position.step, submitted, lr, epoch };
  }

  #batch(): TrainBatch {
    const { rows, epoch } = this.#stream.next();
    const numbers = Array.from(rows, (i) => this.#questions?.row(epoch, i) ?? i);
    return { numbers, rows: numbers.map((row) => this.options.dataset.train[row]) };
  }

  /** Steps whose losses are read together: on a real GPU a read costs more than a small model's step. */
  get #stepsPerRead(): number {
    return this.options.gpu.isSoftware ? 1 : GPU_STEPS_PER_READ;
  }

  /** Reads and logs the steps that are pending, but for the last `left`. */
  async #settle(bar: Progress, left = 0): Promise<void> {
    const pending = this.#pending.splice(0, this.#pending.length - left);
    const values = await Promise.all(pending.map(({ submitted }) => submitted.values()));
    pending.forEach(({ step, submitted: { tokens }, lr, epoch }, i) => {
      const bad = Object.entries(values[i]).find(([, value]) => !Number.isFinite(value));
      this.options.report.log.step(step, { ...values[i], lr, epoch, tokens });
      bar.update(step, { tokens, loss: values[i].loss, reward: values[i].reward });
      if (bad) throw notFinite(step, bad, this.options.checkpoints);
    });
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

function kindOfStep({ gpu, method, config, signal }: TrainOptions, optimizer: AdamW): TrainingStep {
  const rl = reinforcementOf(config);
  if (!rl) return new SupervisedStep(gpu, method, config, optimizer);
  checkCombinations(config);
  const { policy } = method;
  if (!policy) {
    throw new TypeError(
      `${config.model.target} was built without a policy, which do_rl=True needs: models/method.ts`,
    );
  }
  return new GrpoStep({ gpu, policy, optimizer, config, rl, signal });
}

function optimizerOf({ path, checkpoint: { optimizer } }: NamedCheckpoint): AdamWState {
  if (optimizer) return optimizer;
  throw new RangeError(
    `'${path}' has no optimizer to go on with; start from it with --load_ckpt_path`,
  );
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
