/** The test of a saved checkpoint: it says itself which model it is of and which data it was made with. */
import type { Gpu } from "../gpu/device.ts";
import { loadCheckpoint } from "../io/checkpoint.ts";
import { type Config, printConfig, restoreConfig, type Setting } from "../io/config.ts";
import { Report } from "../io/report.ts";
import { describeEnvironment, noLog, openRunLog } from "../io/run_log.ts";
import { buildMethod, loadData } from "./build.ts";
import { settingLines } from "./configure.ts";
import { type NamedCheckpoint, writeTensors } from "./tensors.ts";
import { modelName, testMethod, type TestResults } from "./test_run.ts";

/** What a command line asks for. */
export interface TestRequest {
  /** The checkpoint's folder. */
  readonly path: string;
  /** Arguments such as `compression_factor=5`, over the checkpoint's configuration. */
  readonly overrides?: readonly string[];
  /** The folder that holds logs, models and datasets. */
  readonly workspace: string;
  readonly noLog?: boolean;
  /** Ends the folder's name. @default {"test"} */
  readonly suffix?: string;
}

/** A test's configuration. */
export interface ConfiguredTest extends NamedCheckpoint {
  readonly config: Config;
  readonly set: readonly Setting[];
  /** The seed that the model's fixed initial values were drawn with. */
  readonly initialSeed: number;
}

/**
 * Reads a checkpoint and applies arguments to its configuration.
 * @throws as `loadCheckpoint` and `restoreConfig` do.
 */
export async function configureTest({ path, overrides }: TestRequest): Promise<ConfiguredTest> {
  const checkpoint = await loadCheckpoint(path, { optimizer: false });
  const { config: saved } = restoreConfig(checkpoint.config, [], path);
  const resolved = restoreConfig(checkpoint.config, overrides, path);
  return { path, checkpoint, ...resolved, initialSeed: saved.seed };
}

/**
 * Tests a checkpoint, in a run folder of its own.
 * @throws as the parts do, {RangeError}, {TypeError} or {SyntaxError} for a user's mistake.
 */
export async function testCheckpoint(
  gpu: Gpu,
  request: TestRequest,
  signal?: AbortSignal,
): Promise<TestResults> {
  const report = new Report();
  const { config, set, initialSeed: seed, path, checkpoint } = await configureTest(request);
  for (const line of settingLines(set)) report.show(line);
  const { workspace, noLog: isOff, suffix } = request;
  const { test: rows } = await loadData(config, workspace);
  using built = await buildMethod({ gpu, config, workspace, seed });
  const { method } = built;
  writeTensors(gpu, method.parameters, { path, checkpoint }, { complete: true });
  using log = isOff ? noLog : await openRunLog({
    workspace,
    model: modelName(config),
    dataset: config.data_module.dataset_name,
    suffix: suffix || "test",
    config: printConfig(config),
    environment: await describeEnvironment(gpu.info),
  });
  report.log = log;
  report.line(`test ${path}, step ${checkpoint.state.step}, on ${gpu.info.description}`);
  const results = await testMethod({ method, rows, config, report, checkpoint: path, signal });
  if (log.folder) report.line(`logs: ${log.folder}`);
  return results;
}
