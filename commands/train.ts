/** Trains a model, from its configuration to the table of its test. */
import { configureRun } from "../training/configure.ts";
import { trainRun } from "../training/run.ts";
import {
  asSettings,
  type Command,
  COMMON,
  INTERRUPTED,
  onGpu,
  placesOf,
  print,
} from "./command.ts";

/** The command. */
export const train: Command = {
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
};
