/** What commands share: their form, common options, and how they get a device. */
import type { Gpu } from "../gpu/device.ts";
import type { CommandTable, Given } from "../io/command_line.ts";
import { type Config, printConfig } from "../io/config.ts";
import { interruptible } from "../io/interrupt.ts";
import { openGpu } from "../io/open_gpu.ts";

/** A command of the command line: its options, and what it does. */
export interface Command extends CommandTable {
  /** @returns the exit code */
  run(given: Given): Promise<number>;
}

/** The exit code after Ctrl-C. */
export const INTERRUPTED = 130;

/** Options of several commands. */
export const COMMON = {
  test_times: { value: "N", help: "decode seeds of the test (5)" },
  seed: { value: "N", help: "keys every random draw (0)" },
  devices: { value: "0", help: "one process uses one GPU: 0 or 1" },
  workspace_path: { value: "FOLDER", help: "holds logs, models/llms and datasets (.)" },
  log_suffix: { value: "WORD", help: "ends the name of the run's folder" },
  no_log: { help: "writes nothing, no checkpoint either" },
  kernels: { value: "auto", help: "auto, tiled, subgroup, or a register tile: subgroup:32x8" },
  print_config: { help: "prints every key with its value, and ends" },
} as const;

/** Opens the device and works on it until Ctrl-C. */
export async function onGpu<T>(
  { kernels, devices = "0" }: Given["text"],
  work: (gpu: Gpu, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (!/^[01]$/.test(devices)) {
    throw new RangeError(`--devices must be 0 or 1, one process uses one GPU; got '${devices}'`);
  }
  using gpu = await openGpu({ kernels });
  return await interruptible((signal) => work(gpu, signal));
}

/** Where a run reads and writes. */
export function placesOf(
  { workspace_path: workspace = ".", log_suffix: suffix }: Given["text"],
  flags: Given["flags"],
) {
  return { workspace, suffix, noLog: flags.has("no_log") };
}

/** Options that are keys of the configuration. */
export function asSettings(text: Given["text"]): string[] {
  const keys = ["seed", "test_times"].filter((key) => text[key] !== undefined);
  return keys.map((key) => `${key}=${text[key]}`);
}

/** Prints a configuration. */
export async function print(config: Config): Promise<number> {
  console.log((await printConfig(config)).trimEnd());
  return 0;
}
