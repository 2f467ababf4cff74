/**
 * The order in which training reads rows: a new shuffle for every epoch, cut into batches.
 *
 * An epoch's order depends only on seed and epoch, not on the batch size or on what was read before, so that two
 * numbers, epoch and index, say where a run stands and a resumed run reads exactly what the interrupted one would have.
 * The last batch of an epoch holds what is left, as in the published loader: no row is dropped, none is shown twice.
 */
import { mixSeeds, Random } from "./random.ts";

/** Where a run stands in its data. */
export interface DataPosition {
  /** Epochs read completely. */
  readonly epoch: number;
  /** Rows read of the current one. */
  readonly index: number;
}

/** Rows for one step. */
export interface Batch {
  /** Row numbers, [at most batchSize]. */
  readonly rows: Uint32Array;
  readonly epoch: number;
  /** Whether the epoch ends with this batch. */
  readonly isLast: boolean;
}

/** How rows are read. */
export interface BatchOptions {
  readonly numRows: number;
  readonly batchSize: number;
  readonly seed: number;
  /** Where to go on. @default the beginning */
  readonly position?: DataPosition;
}

/** Endless batches of row numbers. */
export class BatchStream {
  readonly #options: BatchOptions;
  #epoch: number;
  #index: number;
  #order: Uint32Array;

  /** @throws {RangeError} without rows, for a batch size below 1, or a position outside the data */
  constructor(options: BatchOptions) {
    const { numRows, batchSize, position = { epoch: 0, index: 0 } } = options;
    requireInteger("number of rows", numRows, 1);
    requireInteger("batch_size", batchSize, 1);
    requireInteger("seed", options.seed, 0);
    requireInteger("data position's epoch", position.epoch, 0);
    requireInteger("data position's index", position.index, 0);
    if (position.index > numRows) {
      throw new RangeError(
        `data position's index must be at most ${numRows}, the number of rows, got ${position.index}; ` +
          "the run was saved with other data",
      );
    }
    this.#options = options;
    this.#epoch = position.epoch;
    this.#index = position.index;
    if (this.#index === numRows) [this.#epoch, this.#index] = [this.#epoch + 1, 0];
    this.#order = epochOrder(numRows, options.seed, this.#epoch);
  }

  /** Where the next batch begins; a stream made with it goes on with that batch. */
  get position(): DataPosition {
    return { epoch: this.#epoch, index: this.#index };
  }

  /** Batches in one epoch that begins at its first row. */
  get batchesPerEpoch(): number {
    return Math.ceil(this.#options.numRows / this.#options.batchSize);
  }

  /** @returns the next rows; the last batch of an epoch may be smaller */
  next(): Batch {
    const { numRows, batchSize, seed } = this.#options;
    const rows = this.#order.slice(this.#index, this.#index + batchSize);
    const batch = { rows, epoch: this.#epoch, isLast: this.#index + batchSize >= numRows };
    this.#index += batchSize;
    if (batch.isLast) {
      [this.#epoch, this.#index] = [this.#epoch + 1, 0];
      this.#order = epochOrder(numRows, seed, this.#epoch);
    }
    return batch;
  }
}

/**
 * The shuffled rows of an epoch (Fisher-Yates).
 * @returns every number from 0 to numRows - 1 once
 */
export function epochOrder(numRows: number, seed: number, epoch: number): Uint32Array {
  const random = new Random(mixSeeds(seed, epoch));
  const order = Uint32Array.from({ length: numRows }, (_, row) => row);
  for (let i = numRows - 1; i > 0; i--) {
    const j = random.integer(0, i);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/**
 * Rows in their own order, for evaluation.
 * @returns batches of row numbers; the last may be smaller
 * @throws {RangeError} for a batch size below 1
 */
export function inOrder(numRows: number, batchSize: number): Uint32Array[] {
  requireInteger("val_batch_size", batchSize, 1);
  return Array.from({ length: Math.ceil(numRows / batchSize) }, (_, batch) => {
    const first = batch * batchSize;
    const size = Math.min(batchSize, numRows - first);
    return Uint32Array.from({ length: size }, (_, i) => first + i);
  });
}

function requireInteger(name: string, value: number, least: number): void {
  if (Number.isInteger(value) && value >= least) return;
  throw new RangeError(`${name} must be an integer from ${least}, got ${value}`);
}
