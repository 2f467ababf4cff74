/** The `data` command: what a data set is made of, as a run would read it. */
import { join } from "node:path";
import { describeDataset } from "../data/describe.ts";
import { type Config, resolveConfig } from "../io/config.ts";
import { type HubOptions, hubSnapshot, tokenizerFiles } from "../io/hub.ts";
import { parseHubId } from "../io/hub_cache.ts";
import { Report } from "../io/report.ts";
import { loadTokenizer, type Tokenizer } from "../io/tokenizer.ts";
import { userMessage } from "../io/user_error.ts";
import { findFolder, findModel } from "./build.ts";
import { loadData } from "./load_data.ts";

/** What a command line asks for. */
export interface DataRequest {
  /** A file of configs/datasets, or a path. @default {"arith"} */
  readonly dataset?: string;
  /** Arguments such as `model_id=FOLDER` or `test_split=all`. */
  readonly overrides?: readonly string[];
  /** The folder that holds models and datasets. */
  readonly workspace: string;
}

/**
 * Loads a data set and describes it: rows, token lengths where the model's tokenizer is there, broken rules.
 * @throws {TypeError} or {RangeError} for a set that cannot be read, by name.
 */
export async function showData(request: DataRequest): Promise<string> {
  const { dataset, overrides, workspace } = request;
  const { config } = await resolveConfig({ model: "cot", dataset, overrides });
  const hub = { report: new Report() };
  const { lines, ...data } = await loadData(config, workspace, hub);
  const { tokenizer, reason } = await tokenizerOf(config, workspace, hub);
  const counts =
    `${data.train.length} train, ${data.val.length} val, ${data.test.length} test rows`;
  return [
    ...lines.length > 0 ? lines : [`${config.data_module.dataset_name}: ${counts}`],
    ...reason === undefined ? [] : [`token lengths are left out: ${reason}`],
    "",
    describeDataset(data, tokenizer),
  ].join("\n");
}

/** The model's tokenizer, fetched without its weights; a model that is not there is no reason to show nothing. */
async function tokenizerOf(
  { model: { model_kwargs: { model_id, separator_tokens } } }: Config,
  workspace: string,
  hub: HubOptions,
): Promise<{ readonly tokenizer?: Tokenizer; readonly reason?: string }> {
  try {
    const repo = parseHubId(model_id, "model");
    const isHere = await findFolder(model_id, join(workspace, "models", "llms", model_id));
    const folder = isHere || !repo
      ? await findModel(model_id, workspace)
      : (await hubSnapshot(repo, tokenizerFiles, hub)).folder;
    return { tokenizer: await loadTokenizer(folder, separator_tokens) };
  } catch (error) {
    const reason = userMessage(error);
    if (reason === undefined) throw error;
    return { reason };
  }
}
