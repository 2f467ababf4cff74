/**
 * Which questions reinforcement asks: `n_train_samples_per_epoch` of the training rows each epoch, of those that
 * `filter_dataset` left.
 *
 * `resample_each_epoch` draws them anew each epoch, none twice. Otherwise they are drawn once, with replacement, and stay
 * the same for the whole run: what the published code does in effect (A22). Both depend on the seed alone.
 */
import { epochOrder } from "../data/batch.ts";
import { mixSeeds, Random } from "../data/random.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { Config } from "../io/config.ts";
import type { Report } from "../io/report.ts";
import { type ReinforcementConfig, sampleGroups, type SamplingOptions } from "./grpo_step.ts";

const DRAW = 0x7173; // sets the choice of questions apart from the order of rows
const FIRST_FILTER_SAMPLE = 2 ** 31; // samples of training have numbers below

/** What questions are drawn from. */
export interface QuestionSampleOptions {
  /** Rows of the split. */
  readonly numRows: number;
  /** Rows that may be asked; undefined: all. */
  readonly kept?: readonly number[];
  /** Questions of an epoch, at most. */
  readonly size: number;
  readonly seed: number;
  /** Whether each epoch has questions of its own. */
  readonly isAnew: boolean;
}

/** Questions of each epoch. */
export class QuestionSample {
  /** Questions of an epoch. */
  readonly length: number;
  #epoch = -1;
  #rows: readonly number[] = [];

  constructor(private readonly options: QuestionSampleOptions) {
    const { isAnew, size } = options;
    this.length = isAnew ? Math.min(size, this.#numKept) : size;
  }

  /** The row of the split that question `index` of an epoch is. */
  row(epoch: number, index: number): number {
    const drawn = this.options.isAnew ? epoch : 0;
    if (this.#epoch !== drawn) [this.#epoch, this.#rows] = [drawn, this.#draw(drawn)];
    return this.#rows[index];
  }

  get #numKept(): number {
    return this.options.kept?.length ?? this.options.numRows;
  }

  #draw(epoch: number): number[] {
    const { kept, seed, isAnew } = this.options;
    const [own, count] = [mixSeeds(seed, DRAW), this.#numKept];
    const random = new Random(own);
    const chosen = isAnew
      ? [...epochOrder(count, own, epoch).subarray(0, this.length)]
      : Array.from({ length: this.length }, () => random.integer(0, count - 1));
    return chosen.map((i) => kept ? kept[i] : i);
  }
}

/**
 * `rl_config` of a run that learns from rewards; undefined for one that learns from steps. Of a method of one's own too:
 * with `do_rl` its `rl_config` has these keys (io/config_schema.ts: ownSchema).
 */
export function reinforcementOf({ model }: Config): ReinforcementConfig | undefined {
  const { model_kwargs: options } = model;
  return "do_rl" in options && options.do_rl ? options.rl_config : undefined;
}

/**
 * The questions of a run's epochs; undefined where every row is trained on.
 * @param numRows rows of the training split
 * @param kept those that `filter_dataset` left
 */
export function questionSample(
  config: Config,
  numRows: number,
  kept?: readonly number[],
): QuestionSample | undefined {
  const rl = reinforcementOf(config);
  return rl && new QuestionSample({
    numRows,
    kept,
    size: rl.n_train_samples_per_epoch,
    seed: config.seed,
    isAnew: rl.resample_each_epoch,
  });
}

/**
 * The rows whose `group_size` samples are not all right: from the others nothing can be learned.
 * @returns row numbers, ascending; undefined when the signal ended the search
 * @throws {RangeError} when no row is left.
 */
export async function unsolvedQuestions(
  options: SamplingOptions,
  rows: readonly QsaRow[],
  report: Report,
): Promise<number[] | undefined> {
  const { rl: { group_size }, config: { dataloader }, signal } = options;
  const atOnce = Math.max(1, Math.floor(dataloader.val_batch_size / group_size));
  const total = { label: "filter_dataset", total: rows.length, start: 0 };
  const kept = await report.progress(total, async (bar) => {
    const kept: number[] = [];
    for (let first = 0; first < rows.length; first += atOnce) {
      if (signal?.aborted) return undefined;
      const asked = rows.slice(first, first + atOnce);
      const batch = { rows: asked, numbers: asked.map((_, i) => first + i) };
      const firstSample = FIRST_FILTER_SAMPLE + first * group_size;
      const samples = await sampleGroups(options, batch, firstSample);
      asked.forEach((_, i) => {
        const group = samples.slice(i * group_size, (i + 1) * group_size);
        if (!group.every(({ isRight }) => isRight)) kept.push(first + i);
      });
      bar.update(first + asked.length);
    }
    return kept;
  });
  if (kept?.length === 0) {
    throw new RangeError(
      `filter_dataset: all ${rows.length} training questions are always answered right, nothing is left to learn; ` +
        "set filter_dataset=False, or dataset_name to harder ones",
    );
  }
  if (kept) report.line(`filter_dataset keeps ${kept.length} of ${rows.length} training questions`);
  return kept;
}
