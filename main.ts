/** The command line: a command and its options, to an exit code: 0 done, 1 failed, 2 the user's mistake, 130 Ctrl-C. */
import type { Gpu } from "./gpu/device.ts";
import { callersFolder } from "./io/callers_folder.ts";
import {
  type CommandTable,
  type Given,
  helpText,
  parseCommand,
  unknown,
} from "./io/command_line.ts";
import { type Config, printConfig } from "./io/config.ts";
import { examine, problemsOf } from "./io/doctor.ts";
import { doctorReport } from "./io/doctor_report.ts";
import { pushCheckpoint } from "./io/hub_push.ts";
import { interruptible, isInterruption } from "./io/interrupt.ts";
import { openGpu } from "./io/open_gpu.ts";
import { planReport } from "./io/plan_report.ts";
import { Report } from "./io/report.ts";
import { userMessage } from "./io/user_error.ts";
import { configureRun } from "./training/configure.ts";
import { exportMerged, exportPeft, FORMATS } from "./training/export.ts";
import { planModel } from "./training/plan_model.ts";
import { trainRun } from "./training/run.ts";
import { showData } from "./training/show_data.ts";
import { configureTest, testCheckpoint } from "./training/test_checkpoint.ts";

interface Command extends CommandTable {
  run(given: Given): Promise<number>;
}

const INTERRUPTED = 130;

const COMMON = {
  test_times: { value: "N", help: "decode seeds of the test (5)" },
  seed: { value: "N", help: "keys every random draw (0)" },
  devices: { value: "0", help: "one process uses one GPU: 0 or 1" },
  workspace_path: { value: "FOLDER", help: "holds logs, models/llms and datasets (.)" },
  log_suffix: { value: "WORD", help: "ends the name of the run's folder" },
  no_log: { help: "writes nothing, no checkpoint either" },
  kernels: { value: "auto", help: "auto, tiled, subgroup, or a register tile: subgroup:32x8" },
  print_config: { help: "prints every key with its value, and ends" },
} as const;

const COMMANDS: Readonly<Record<string, Command>> = {
  train: {
    help: "trains a model; key=value sets keys of configs/",
    options: {
      model: {
        value: "colar",
        help: "of configs/models: cot, colar, icot, coconut, distill, codi; or a path, mine.yaml",
      },
      dataset: { value: "arith", help: "of configs/datasets (arith), or a path" },
      trainer: { value: "default", help: "of configs/trainer (default), or a path" },
      do_test: { help: "tests the best checkpoint at the end" },
      load_ckpt_path: {
        value: "CHECKPOINT",
        help: "begins from its weights; or a published FILE.ckpt",
      },
      load_adapter: {
        value: "FOLDER",
        help: "begins from an adapter of PEFT, and takes its sizes",
      },
      test_ckpt_path: { value: "CHECKPOINT", help: "trains nothing: that is what test does" },
      resume_ckpt_path: { value: "CHECKPOINT", help: "goes on with its run; needs no --model" },
      ...COMMON,
    },
    takesSettings: true,
    run: async ({ text, flags, settings }) => {
      const { model, dataset, trainer, test_ckpt_path: tested } = text;
      if (tested !== undefined) {
        throw new RangeError(
          `--test_ckpt_path trains nothing; say ./denow task test --ckpt=${tested}`,
        );
      }
      const request = {
        ...{ model, dataset, trainer, ...placesOf(text, flags) },
        overrides: [...settings, ...asSettings(text)],
        loadPath: text.load_ckpt_path,
        adapterPath: text.load_adapter,
        resumePath: text.resume_ckpt_path,
        doTest: flags.has("do_test"),
      };
      const { config } = await configureRun(request); // mistakes are told before a device is opened
      if (flags.has("print_config")) return await print(config);
      const { isInterrupted } = await onGpu(text, (...on) => trainRun(on[0], request, on[1]));
      return isInterrupted ? INTERRUPTED : 0;
    },
  },
  test: {
    help: "tests a checkpoint, which says itself what it is; key=value changes keys",
    options: {
      ckpt: { value: "CHECKPOINT", help: "short for --test_ckpt_path" },
      model: {
        value: "colar",
        help: "of configs/models, where CHECKPOINT is a published FILE.ckpt",
      },
      dataset: { value: "svamp", help: "of configs/datasets (the checkpoint's), or a path" },
      test_ckpt_path: { value: "CHECKPOINT", help: "a folder below checkpoints, or a FILE.ckpt" },
      save_latents: {
        value: "FILE",
        help: "keeps every latent in a safetensors file: docs/logs.md",
      },
      latent_layers: { value: "4,8", help: "blocks whose outputs it holds (the last one)" },
      ...COMMON,
    },
    takesSettings: true,
    run: async ({ text, flags, settings }) => {
      const path = text.ckpt ?? text.test_ckpt_path;
      if (path === undefined) throw new RangeError("test needs --ckpt=CHECKPOINT; see --help");
      const overrides = [...settings, ...asSettings(text)];
      const { save_latents: latentsPath, latent_layers: latentLayers } = text;
      const latents = { latentsPath, latentLayers };
      const data = {
        model: text.model,
        dataset: text.dataset,
        overrides,
        ...placesOf(text, flags),
      };
      const request = { path, ...data, ...latents };
      const { config } = await configureTest(request);
      if (flags.has("print_config")) return await print(config);
      await onGpu(text, (...on) => testCheckpoint(on[0], request, on[1]));
      return 0;
    },
  },
  data: {
    help: "what a data set holds: rows, token lengths, faults; model_id=FOLDER names the tokenizer",
    options: {
      dataset: { value: "arith", help: "of configs/datasets (arith), or a path" },
      workspace_path: COMMON.workspace_path,
    },
    takesSettings: true,
    run: async ({ text: { dataset, workspace_path: workspace = "." }, settings: overrides }) => {
      console.log(await showData({ dataset, overrides, workspace }));
      return 0;
    },
  },
  export: {
    help: "writes a checkpoint for other programs",
    options: {
      ckpt: { value: "CHECKPOINT", help: "a folder below a run's checkpoints" },
      format: { value: "peft", help: "peft: the adapter; merged: the whole model, in Hub layout" },
      out: { value: "FOLDER", help: "a new folder (exported/ in the run's)" },
      workspace_path: COMMON.workspace_path,
      kernels: COMMON.kernels,
    },
    run: async ({ text }) => {
      const { ckpt: path, format, out, workspace_path: workspace = "." } = text;
      const known = FORMATS.find((word) => word === format);
      if (path === undefined || known === undefined) {
        throw new RangeError(`export needs --ckpt=CHECKPOINT and --format=${FORMATS.join(" or ")}`);
      }
      const request = { path, out, workspace };
      const lines = known === "peft"
        ? await exportPeft(request)
        : await onGpu(text, (gpu) => exportMerged(gpu, request));
      for (const line of lines) console.log(line);
      return 0;
    },
  },
  push: {
    help: "uploads a checkpoint, its configuration and a card to the Hub",
    options: {
      ckpt: { value: "CHECKPOINT", help: "a folder below a run's checkpoints" },
      repo: { value: "OWNER/NAME", help: "made, private, where it is not there yet" },
      public: { help: "makes it public" },
    },
    run: async ({ text: { ckpt, repo }, flags }) => {
      if (ckpt === undefined || repo === undefined) {
        throw new RangeError("push needs --ckpt=CHECKPOINT and --repo=OWNER/NAME; see --help");
      }
      const request = { path: ckpt, repo, isPublic: flags.has("public") };
      const { url } = await interruptible((signal) =>
        pushCheckpoint(request, { report: new Report(), signal })
      );
      console.log(`${ckpt} is at ${url}`);
      return 0;
    },
  },
  doctor: {
    help: "what computes here, how fast, and what to do about problems",
    options: {
      kernels: COMMON.kernels,
      json: { help: "the same as JSON" },
      model_id: { value: "MODEL", help: "plans the memory of a model instead" },
      batch_size: { value: "N", help: "its rows at once (8)" },
      length: { value: "N", help: "tokens of each row (256)" },
      workspace_path: COMMON.workspace_path,
    },
    run: async ({ text, flags }) => {
      if (text.model_id !== undefined) return await plan(text, text.model_id, flags.has("json"));
      const facts = await examine({ kernels: text.kernels });
      const problems = problemsOf(facts);
      const isJson = flags.has("json");
      console.log(
        isJson ? JSON.stringify({ ...facts, problems }, null, 2) : doctorReport(facts, problems),
      );
      return facts.adapter ? 0 : 1;
    },
  },
};

/**
 * Runs a command line.
 * @param folder from which relative paths count, those given and those printed. @default the current one
 * @returns the exit code
 */
export async function main(args: readonly string[], folder?: string): Promise<number> {
  try {
    if (folder !== undefined) Deno.chdir(folder);
    const [name = "--help", ...rest] = args;
    if (name === "--help" || name === "-h" || rest.includes("--help")) {
      console.log(helpText(COMMANDS));
      return 0;
    }
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (!command) throw unknown("command", name, Object.keys(COMMANDS));
    return await command.run(parseCommand(name, command, rest));
  } catch (error) {
    if (isInterruption(error)) {
      console.error("Interrupted; what was saved before is whole.");
      return INTERRUPTED;
    }
    const message = userMessage(error);
    if (message === undefined) throw error;
    console.error(message);
    return 2;
  }
}

/** Prints a plan of memory, on the device that would compute. */
async function plan(text: Given["text"], model_id: string, isJson: boolean): Promise<number> {
  const { batch_size: batchSize, length, workspace_path: workspace = "." } = text;
  using gpu = await openGpu({ kernels: text.kernels, measure: false });
  const facts = await planModel(gpu, { model_id, batchSize, length, workspace });
  console.log(isJson ? JSON.stringify(facts, null, 2) : planReport(facts));
  return 0;
}

async function onGpu<T>(
  { kernels, devices = "0" }: Given["text"],
  work: (gpu: Gpu, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (!/^[01]$/.test(devices)) {
    throw new RangeError(`--devices must be 0 or 1, one process uses one GPU; got '${devices}'`);
  }
  using gpu = await openGpu({ kernels });
  return await interruptible((signal) => work(gpu, signal));
}

function placesOf(
  { workspace_path: workspace = ".", log_suffix: suffix }: Given["text"],
  flags: Given["flags"],
) {
  return { workspace, suffix, noLog: flags.has("no_log") };
}

/** Options that are keys of the configuration. */
function asSettings(text: Given["text"]): string[] {
  const keys = ["seed", "test_times"].filter((key) => text[key] !== undefined);
  return keys.map((key) => `${key}=${text[key]}`);
}

async function print(config: Config): Promise<number> {
  console.log((await printConfig(config)).trimEnd());
  return 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args, callersFolder()));
