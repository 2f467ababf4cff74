/** From a command line's request to a run's configuration: of files and arguments, or of the checkpoint it resumes. */
import { loadCheckpoint } from "../io/checkpoint.ts";
import { type Config, resolveConfig, restoreConfig, type Setting } from "../io/config.ts";
import { checkCombinations } from "../io/config_rules.ts";
import { adapterSettings } from "./foreign_start.ts";
import { reinforcementOf } from "./question_sample.ts";
import type { NamedCheckpoint } from "./tensors.ts";

/** What a command line asks for. */
export interface RunRequest {
  /** Names of configs/; a resumed run has its own. */
  readonly model?: string;
  readonly dataset?: string;
  readonly trainer?: string;
  /** Arguments such as `batch_size=8`. */
  readonly overrides?: readonly string[];
  /** The folder that holds logs, models and datasets. */
  readonly workspace: string;
  readonly noLog?: boolean;
  readonly suffix?: string;
  /** A checkpoint to go on with, or to begin from. */
  readonly resumePath?: string;
  readonly loadPath?: string;
  /** A folder of PEFT, whose adapter the run begins from. */
  readonly adapterPath?: string;
  /** Whether the best checkpoint is tested at the end. */
  readonly doTest?: boolean;
}

/** A run's configuration, and the checkpoint that it goes on with. */
export interface ConfiguredRun {
  readonly config: Config;
  readonly set: readonly Setting[];
  readonly names: { readonly model: string; readonly dataset: string; readonly trainer: string };
  readonly resume?: NamedCheckpoint;
}

/**
 * Resolves a request's configuration: of files and arguments, or of the checkpoint that it resumes.
 * @throws {RangeError} for options that contradict each other; else as `resolveConfig` and `loadCheckpoint` do.
 */
export async function configureRun(request: RunRequest): Promise<ConfiguredRun> {
  const { model, dataset = "arith", trainer = "default", resumePath, loadPath } = request;
  const { overrides = [], adapterPath } = request;
  const starts = [resumePath, loadPath, adapterPath].filter((path) => path !== undefined);
  if (starts.length > 1) {
    throw new RangeError(
      "--resume_ckpt_path goes on with a run, --load_ckpt_path and --load_adapter begin one; " +
        "give one of them",
    );
  }
  if (resumePath === undefined) {
    if (model === undefined) {
      throw new RangeError("train needs --model, as in --model=colar; configs/models/ has them");
    }
    const sizes = adapterPath === undefined ? [] : await adapterSettings(adapterPath);
    const all = [...sizes, ...overrides];
    const resolved = await resolveConfig({ model, dataset, trainer, overrides: all });
    if (loadPath === undefined && reinforcementOf(resolved.config)) {
      throw new RangeError(
        "do_rl=True goes on from a trained model, --load_ckpt_path is not given; " +
          `train one with ./denow task train --model=${model}, then name its checkpoint with ` +
          "--load_ckpt_path=RUN/checkpoints/last",
      );
    }
    checkCombinations(resolved.config, resolved.set);
    return { ...resolved, names: { model, dataset, trainer } };
  }
  const checkpoint = await loadCheckpoint(resumePath);
  const resolved = await restoreConfig(checkpoint.config, overrides, resumePath);
  checkCombinations(resolved.config, resolved.set);
  const names = checkpoint.state.names as ConfiguredRun["names"];
  for (const key of ["model", "dataset", "trainer"] as const) {
    if (request[key] === undefined || request[key] === names?.[key]) continue;
    throw new RangeError(
      `--${key} is ${request[key]}, but '${resumePath}' was saved with ${names?.[key]}; ` +
        `leave --${key} out to go on, or begin from it with --load_ckpt_path`,
    );
  }
  return { ...resolved, names, resume: { path: resumePath, checkpoint } };
}

/** What bare keys among the arguments have set, a line each: one may stand for several keys. */
export function settingLines(set: readonly Setting[]): string[] {
  const bare = set.filter(({ argument, paths: [first] }) => !argument.startsWith(`${first}=`));
  return bare.map(({ argument, paths }) => `${argument} sets ${paths.join(", ")}`);
}
