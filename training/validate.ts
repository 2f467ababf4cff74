/** Validation of a run: every speed of its method on the validation questions, and the number that ranks checkpoints. */
import type { QsaRow } from "../data/qsa.ts";
import type { Config } from "../io/config.ts";
import type { Report } from "../io/report.ts";
import type { Method } from "../models/method.ts";
import { evaluate, metricName } from "./evaluate.ts";

const METRICS = ["acc", "n_latent_forward", "n_latent_forward_on_acc", "output_length"];

/** What is validated, and with what. */
export interface ValidateOptions {
  readonly method: Method;
  readonly config: Config;
  readonly dataset: { readonly val: readonly QsaRow[] };
  readonly report: Report;
  readonly signal?: AbortSignal;
}

/**
 * Validates by the run's protocol with the run's seed, logs every number under `val/` and prints accuracy and #L.
 * @param step optimizer steps done
 * @returns the monitored number
 * @throws the signal's reason when it is aborted.
 */
export async function validate(options: ValidateOptions, step: number): Promise<number> {
  const { method, config, dataset, report, signal } = options;
  const values: Record<string, number> = {};
  const shown: string[] = [];
  for (const speed of method.speeds) {
    const { metrics } = await evaluate(method, {
      rows: dataset.val,
      config,
      speed,
      greedy: config.evaluation.protocol === "greedy",
      seed: config.seed,
      signal,
    });
    for (const [name, value] of Object.entries(metrics)) {
      values[metricName(name, speed, method.speeds[0])] = value;
    }
    const { acc, n_latent_forward } = metrics;
    shown.push(
      `speed ${speed}: acc ${(100 * acc).toFixed(1)} %, #L ${n_latent_forward.toFixed(1)}`,
    );
  }
  const logged = Object.entries(values).map(([name, value]) => [`val/${name}`, value]);
  report.log.step(step, Object.fromEntries(logged));
  report.line(`step ${step}, ${dataset.val.length} validation questions: ${shown.join("; ")}`);
  return values[config.callbacks.monitor];
}

/**
 * Refuses a monitor that no validation gives, before hours of training.
 * @throws {RangeError} naming what there is.
 */
export function checkMonitor({ callbacks: { monitor } }: Config, { speeds }: Method): void {
  const names = speeds.flatMap((speed) => METRICS.map((m) => metricName(m, speed, speeds[0])));
  if (names.includes(monitor)) return;
  throw new RangeError(`monitor must be one of ${names.join(", ")}, got '${monitor}'`);
}
