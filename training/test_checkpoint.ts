/** The test of a saved checkpoint: it says itself which model it is of and which data it was made with. */
import type { Gpu } from "../gpu/device.ts";
import { loadCheckpoint } from "../io/checkpoint.ts";
import {
  type Config,
  dataArguments,
  printConfig,
  restoreConfig,
  type Setting,
} from "../io/config.ts";
import { targetArguments } from "../io/config_model.ts";
import { checkThinking } from "../io/config_rules.ts";
import { Report } from "../io/report.ts";
import { describeEnvironment, noLog, openRunLog } from "../io/run_log.ts";
import { isFile } from "../io/published_checkpoint.ts";
import { checkLatentsFile } from "../io/save_latents.ts";
import type { Method } from "../models/method.ts";
import { buildMethod, pinModel } from "./build.ts";
import { settingLines } from "./configure.ts";
import { loadData, pinData } from "./load_data.ts";
import { configureForeignTest, foreignReport } from "./foreign_start.ts";
import { tracing } from "./evaluate.ts";
import { type NamedCheckpoint, writeTensors } from "./tensors.ts";
import { type LatentsRequest, modelName, testMethod, type TestResults } from "./test_run.ts";

/** What a command line asks for. */
export interface TestRequest {
  /** The checkpoint's folder, or a PyTorch file. */
  readonly path: string;
  /** A file of configs/models, for a PyTorch file only. */
  readonly model?: string;
  /** A file of configs/datasets, or a path. @default {what the checkpoint was trained on} */
  readonly dataset?: string;
  /** Arguments such as `compression_factor=5`, over the checkpoint's configuration and the data set's. */
  readonly overrides?: readonly string[];
  /** The folder that holds logs, models and datasets. */
  readonly workspace: string;
  readonly noLog?: boolean;
  /** Ends the folder's name. @default {"test"} */
  readonly suffix?: string;
  /** A safetensors file for the latents. @default {they are not kept} */
  readonly latentsPath?: string;
  /** Blocks whose outputs it holds, as in `4,8`. @default {the last one} */
  readonly latentLayers?: string;
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
export async function configureTest(request: TestRequest): Promise<ConfiguredTest> {
  const { path, dataset, overrides = [], latentsPath } = request;
  if (latentsPath !== undefined) await checkLatentsFile(latentsPath);
  layersOf(request);
  if (await isFile(path)) {
    const { model } = request;
    const configured = await configureForeignTest(path, { model, dataset, overrides });
    checkThinking(configured.config);
    return { ...configured, initialSeed: configured.config.seed };
  }
  if (request.model !== undefined) {
    throw new RangeError(`--model is for a file of PyTorch; '${path}' says itself what it is`);
  }
  const checkpoint = await loadCheckpoint(path, { optimizer: false });
  const { config: saved } = await restoreConfig(
    checkpoint.config,
    targetArguments(overrides),
    path,
  );
  const data = dataset === undefined ? [] : await dataArguments(dataset);
  const resolved = await restoreConfig(checkpoint.config, [...data, ...overrides], path);
  checkThinking(resolved.config);
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
  const configured = await configureTest(request);
  const { config: asked, set, initialSeed: seed, path, checkpoint } = configured;
  for (const line of settingLines(set)) report.show(line);
  const { workspace, noLog: isOff, suffix } = request;
  const hub = { report, signal };
  const dataset = await loadData(asked, workspace, hub);
  const { test: rows, lines } = dataset;
  const { config, origin } = await pinModel(await pinData(asked, dataset), workspace, hub);
  using built = await buildMethod({ gpu, config, workspace, seed });
  const { method } = built;
  const latents = latentsOf(request, method);
  const unshared = writeTensors(gpu, method.parameters, configured, { complete: true });
  const foreignLines = foreignReport(configured, unshared, method);
  using log = isOff ? noLog : await openRunLog({
    workspace,
    model: modelName(config),
    dataset: config.data_module.dataset_name,
    suffix: suffix || "test",
    config: await printConfig(config),
    environment: await describeEnvironment(gpu.info, origin),
  });
  report.log = log;
  for (const line of [...lines, ...foreignLines]) report.line(line);
  report.line(`test ${path}, step ${checkpoint.state.step}, on ${gpu.info.description}`);
  const test = { method, rows, config, report, checkpoint: path, signal, latents };
  const results = await testMethod(test);
  if (log.folder) report.line(`logs: ${log.folder}`);
  return results;
}

/** What is kept of the latents; refuses a method that has none before anything is answered. */
function latentsOf(request: TestRequest, method: Method): LatentsRequest | undefined {
  const { latentsPath: path } = request;
  if (path === undefined) return undefined;
  tracing(method);
  return { path, layers: layersOf(request) ?? [method.backbone.numLayers] };
}

function layersOf({ latentsPath, latentLayers: text }: TestRequest): number[] | undefined {
  if (text === undefined) return undefined;
  if (latentsPath === undefined) {
    throw new RangeError("--latent_layers says what --save_latents=FILE holds; give that too");
  }
  if (/^[1-9]\d{0,3}(,[1-9]\d{0,3})*$/.test(text)) return text.split(",").map(Number);
  throw new RangeError(`--latent_layers must be blocks from 1, as in 4,8; got '${text}'`);
}
