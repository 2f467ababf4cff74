/**
 * Every method on the embedded model: from the same CoT, with the same rows, tested on the same questions.
 *
 *   ./denow task nano:methods                      # all rows of ROWS, one after another: lines of logs/nano_methods.jsonl
 *   ./denow task nano:methods --only=cot,icot-16k  # some of them; a row that has its line is not run again
 *   ./denow task nano:methods --table              # experiments/nano_methods.jsonl, the published lines, as a table
 *
 * A row is one run of `train --do_test`, whose command its line has. Rows begin from the checkpoint of the row that they
 * name, most from `cot`; where no line has one yet, that row is run first. Reinforcement begins from `colar-nll-tuned`:
 * a head trained by mse has next to no deviation, so its samples hardly differ (LOG.md).
 */
import process from "node:process";
import { parseArgs } from "node:util";
import type { Gpu } from "../gpu/device.ts";
import { openGpu } from "../io/open_gpu.ts";
import { trainRun } from "../training/run.ts";

/** A row: what is trained, with which settings, from which other row's checkpoint. */
export interface Row {
  readonly model: string;
  readonly settings?: readonly string[];
  readonly from?: string;
}

const WHOLE = ["epoch_scaling=1"]; // one validation, at the end
const HALF = [...WHOLE, "batch_size=8"]; // 16,000 rows in as many steps
const TUNED = [...WHOLE, "lr=3e-4", "max_steps=300", "gradient_clip_val=1", "top_p=1"]; // 4,800 rows more
const reinforced = (lr: string) => [
  ...[...WHOLE, "do_rl=True", `lr=${lr}`, "batch_size=32", "exp_batch_size=32", "max_epochs=8"],
  ...["top_p=1", "n_val=300", "val_batch_size=300"],
];

/** The rows by name. */
export const ROWS: Readonly<Record<string, Row>> = {
  "cot": { model: "cot" },
  "colar-16k": { model: "colar", settings: HALF, from: "cot" },
  "icot-16k": { model: "icot", settings: HALF, from: "cot" },
  "coconut-16k": { model: "coconut", settings: HALF, from: "cot" },
  "distill-16k": { model: "distill", settings: HALF, from: "cot" },
  "codi-16k": { model: "codi", settings: HALF, from: "cot" },
  "colar": { model: "colar", settings: WHOLE, from: "cot" },
  "colar-seed1": { model: "colar", settings: [...WHOLE, "seed=1"], from: "cot" },
  "colar-seed2": { model: "colar", settings: [...WHOLE, "seed=2"], from: "cot" },
  "icot": { model: "icot", settings: WHOLE, from: "cot" },
  "colar-dl": { model: "colar", settings: [...WHOLE, "lp_deterministic=True"], from: "cot" },
  "colar-oc": { model: "colar", settings: [...WHOLE, "pred_compressed_cot=False"], from: "cot" },
  "colar-mp": { model: "colar", settings: [...WHOLE, "sqrt_mean=False"], from: "cot" },
  "colar-nll": { model: "colar", settings: [...WHOLE, "embed_modeling_loss=nll"], from: "cot" },
  "colar-nll-clipped": {
    model: "colar",
    settings: [...WHOLE, "embed_modeling_loss=nll", "gradient_clip_val=1"],
    from: "cot",
  },
  "colar-mse-tuned": { model: "colar", settings: TUNED, from: "colar" },
  "colar-nll-tuned": {
    model: "colar",
    settings: [...TUNED, "embed_modeling_loss=nll"],
    from: "colar",
  },
  "colar-rl": { model: "colar", settings: reinforced("1e-5"), from: "colar-nll-tuned" },
  "colar-rl-seed1": {
    model: "colar",
    settings: [...reinforced("1e-5"), "seed=1"],
    from: "colar-nll-tuned",
  },
  "colar-rl-seed2": {
    model: "colar",
    settings: [...reinforced("1e-5"), "seed=2"],
    from: "colar-nll-tuned",
  },
  // The same questions and draws, and nothing learned: what the curve is compared with.
  "colar-rl-still": { model: "colar", settings: reinforced("1e-12"), from: "colar-nll-tuned" },
  "colar-rl-mse": { model: "colar", settings: reinforced("1e-5"), from: "colar" },
  "colar-rl-mse-tuned": {
    model: "colar",
    settings: reinforced("1e-5"),
    from: "colar-mse-tuned",
  },
};

/** A line of the log. */
export interface Line {
  readonly row: string;
  readonly command: string;
  readonly adapter: string;
  /** Wall time of the run with its tests; null where others ran on the same device. */
  readonly minutes: number | null;
  readonly checkpoint: string;
  /** Accuracies and #L at each speed. */
  readonly results: readonly {
    readonly speed: number | string;
    readonly greedy: number;
    readonly drawn: number | null;
    readonly n_latent_forward: number;
  }[];
}

/** What to run. */
export interface NanoOptions {
  /** Names of rows, in order. */
  readonly rows: readonly string[];
  /** Lines that there are: their checkpoints are used. */
  readonly lines: readonly Line[];
  /** Holds logs/. */
  readonly workspace: string;
  /** Further `key=value` arguments of every row. @default {[]} */
  readonly settings?: readonly string[];
}

/**
 * Runs rows, and those that they begin from.
 * @param write is given each line
 * @throws {RangeError} for a row that does not exist, and as `trainRun` does.
 */
export async function nanoMethods(
  gpu: Gpu,
  { rows, lines, workspace, settings = [] }: NanoOptions,
  write: (line: Line) => void,
): Promise<void> {
  const checkpoints = new Map(lines.map(({ row, checkpoint }) => [row, checkpoint]));
  const run = async (name: string): Promise<string> => {
    const row = Object.hasOwn(ROWS, name) ? ROWS[name] : undefined;
    if (!row) {
      const known = Object.keys(ROWS).join(", ");
      throw new RangeError(`Unknown row '${name}'; there is: ${known}`);
    }
    const from = row.from && (checkpoints.get(row.from) ?? await run(row.from));
    const overrides = [...row.settings ?? [], ...settings];
    const begin = performance.now();
    const outcome = await trainRun(gpu, {
      ...{ model: row.model, overrides, workspace, loadPath: from, suffix: name, doTest: true },
    });
    const checkpoint = outcome.best!.path;
    checkpoints.set(name, checkpoint);
    const origin = row.from ? [`--load_ckpt_path=${row.from.toUpperCase()}`] : [];
    write({
      row: name,
      command: ["./denow task train", `--model=${row.model}`, ...origin, "--do_test", ...overrides]
        .join(" "),
      adapter: gpu.info.description,
      minutes: Math.round((performance.now() - begin) / 6000) / 10,
      checkpoint,
      results: outcome.results!.speeds.map(({ speed, greedy, paper }) => ({
        speed,
        greedy: greedy.acc,
        drawn: paper?.mean.acc ?? null,
        n_latent_forward: greedy.n_latent_forward,
      })),
    });
    return checkpoint;
  };
  for (const name of rows) if (!lines.some(({ row }) => row === name)) await run(name);
}

/** The lines as a table in Markdown. */
export function nanoTable(lines: readonly Line[]): string {
  const percent = (acc: number | null) => acc === null ? "" : (100 * acc).toFixed(1);
  const cells = lines.flatMap(({ row, command, adapter, minutes, results }) =>
    results.map(({ speed, greedy, drawn, n_latent_forward }, i) => [
      results.length > 1 ? `${row}, speed ${speed}` : row,
      ...[percent(greedy), percent(drawn), n_latent_forward.toFixed(1)],
      i > 0 ? "" : minutes === null ? adapter : `${minutes} min, ${adapter}`,
      i > 0 ? "" : `\`${command.replace("./denow task train ", "")}\``,
    ])
  );
  const head = ["", "greedy, %", "drawn, %", "#L", "where", "`./denow task train ...`"];
  return [head, head.map(() => "---"), ...cells].map((line) => `| ${line.join(" | ")} |`)
    .join("\n");
}

const PUBLISHED = new URL("nano_methods.jsonl", import.meta.url);
const LOG = "logs/nano_methods.jsonl";

async function readLines(file: string | URL): Promise<Line[]> {
  try {
    return (await Deno.readTextFile(file)).trim().split("\n").filter(Boolean)
      .map((line) => JSON.parse(line));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { only: { type: "string" }, table: { type: "boolean" } },
  });
  if (values.table) {
    console.log(nanoTable(await readLines(PUBLISHED)));
    process.exit(0);
  }
  const lines = await readLines(LOG);
  using gpu = await openGpu();
  const rows = values.only?.split(",") ?? Object.keys(ROWS);
  await nanoMethods(gpu, { rows, lines, workspace: "." }, (line) => {
    Deno.writeTextFileSync(LOG, JSON.stringify(line) + "\n", { append: true });
  });
}
