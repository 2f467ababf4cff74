/**
 * A run's `checkpoints` folder: `last`, and the best by a monitored value under names that tell it.
 *
 *     checkpoints/last/   checkpoints/epoch0__step100__monitor0.123/   ...
 *
 * The folder itself is the record: what is there is ranked anew at every start. A better checkpoint is on the disk before
 * a worse one is removed. After the published code's ModelCheckpoint: top 3 by monitor, and last.
 */

import { join } from "node:path";
import { disk, type Files, reasonOf, recoverFolders, removeFolder } from "./atomic.ts";
import { type Checkpoint, checkpointsIn, readCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { quote } from "./safetensors_header.ts";

/** A checkpoint's name among the best: `epoch0__step100__monitor0.123`. */
export function checkpointName(epoch: number, step: number, monitor: number): string {
  return `epoch${epoch}__step${step}__monitor${monitor.toFixed(3)}`;
}

/** A saved checkpoint as it is ranked. */
export interface Ranked {
  readonly name: string;
  readonly step: number;
  readonly monitor: number;
}

/**
 * Ranks checkpoints by their monitored value; among equals the earlier step is better, and NaN is never kept.
 * @returns the `count` best, best first, and the others
 */
export function keepTop<T extends Ranked>(
  checkpoints: readonly T[],
  count: number,
  mode: "min" | "max",
): { keep: T[]; drop: T[] } {
  const sign = mode === "min" ? 1 : -1;
  const ranked = checkpoints.filter(({ monitor }) => !Number.isNaN(monitor))
    .sort((a, b) =>
      (a.monitor === b.monitor ? 0 : sign * (a.monitor - b.monitor)) || a.step - b.step
    );
  const keep = ranked.slice(0, count);
  return { keep, drop: checkpoints.filter((checkpoint) => !keep.includes(checkpoint)) };
}

/** What of a run's checkpoints stays. */
export interface KeepOptions {
  /** How many of the best. @default {3} */
  readonly count?: number;
  /** Whether a smaller or a larger monitored value is better. @default {"max"} */
  readonly mode?: "min" | "max";
  readonly files?: Files;
}

/** A run's `checkpoints` folder: the last checkpoint, and the best by a monitored value. */
export class CheckpointFolder {
  private constructor(
    readonly path: string,
    private readonly options: Required<KeepOptions>,
    private best: readonly Ranked[],
  ) {}

  /**
   * Opens the folder, makes it where it is missing, and cleans up what a kill has left.
   * @throws {RangeError} when it cannot be made or written.
   */
  static async open(path: string, options: KeepOptions = {}): Promise<CheckpointFolder> {
    const { count = 3, mode = "max", files = disk } = options;
    const found: Ranked[] = [];
    try {
      await Deno.mkdir(path, { recursive: true });
      await recoverFolders(path, files);
      for (const name of await checkpointsIn(path)) {
        if (!/^epoch\d+__step\d+__monitor/.test(name)) continue;
        // A torn one is left alone: it is not ours to remove, and loading it says what is wrong.
        const summary = await readCheckpoint(join(path, name)).catch(() => undefined);
        const { monitor, state } = summary ?? {};
        if (monitor !== undefined && state) found.push({ name, step: state.step, monitor });
      }
    } catch (error) {
      const next = "name a folder that can be written with --workspace_path";
      throw new RangeError(
        `cannot write checkpoints in ${quote(path)}: ${reasonOf(error)}; ${next}`,
        {
          cause: error,
        },
      );
    }
    return new CheckpointFolder(path, { count, mode, files }, found);
  }

  /** The path of the last checkpoint, saved or not. */
  get last(): string {
    return join(this.path, "last");
  }

  /** The path of the best checkpoint; undefined while none has a monitored value. */
  get bestPath(): string | undefined {
    const { count, mode } = this.options;
    const [first] = keepTop(this.best, Math.max(1, count), mode).keep;
    return first && join(this.path, first.name);
  }

  /**
   * Saves as `last`, and by its own name when it is among the best; then removes what no longer is.
   * @returns paths saved, and names removed
   * @throws as {@link saveCheckpoint} does; then nothing was removed.
   */
  async save(checkpoint: Checkpoint): Promise<{ saved: string[]; removed: string[] }> {
    const { count, mode, files } = this.options;
    const { state: { epoch, step }, monitor = NaN } = checkpoint;
    const name = checkpointName(epoch, step, monitor);
    const others = this.best.filter((other) => other.name !== name);
    const { keep, drop } = keepTop([...others, { name, step, monitor }], count, mode);
    const saved: string[] = [];
    if (keep.some((kept) => kept.name === name)) saved.push(join(this.path, name));
    saved.push(this.last);
    for (const path of saved) await saveCheckpoint(path, checkpoint, files);
    this.best = keep;
    const removed = drop.map((dropped) => dropped.name).filter((dropped) => dropped !== name);
    for (const dropped of removed) await removeFolder(join(this.path, dropped), files);
    return { saved, removed };
  }
}
