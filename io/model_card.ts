/**
 * A run as others are to read it: the README.md of a model on the Hub, made from what the run left.
 *
 * The command is worked out from the configuration: what differs from configs/ as they are here now. Folders of this machine
 * are no one else's business: of an absolute path only the last part is told, and so of the file of a method of one's own.
 */
import { basename, isAbsolute } from "node:path";
import { exists } from "./atomic.ts";
import { type Config, resolveConfig, restoreConfig } from "./config.ts";
import { isBuiltIn } from "./config_model.ts";
import { isCommit, parseHubId } from "./hub_cache.ts";

/** What a card is made from. */
export interface CardOptions {
  /** Where it will be: `owner/name`. */
  readonly repo: string;
  readonly config: Config;
  readonly epoch: number;
  readonly step: number;
  /** The files of configs/ that the run named. */
  readonly names: { readonly model: string; readonly dataset: string; readonly trainer: string };
  /** Whether the run began from a checkpoint that its command line named. */
  readonly beginsFromCheckpoint: boolean;
  /** The value of test.json; undefined where this checkpoint was not tested. */
  readonly results?: CardResults;
  /** The value of environment.json. */
  readonly environment?: unknown;
  /** The files beside it. */
  readonly files: readonly string[];
}

/** What a card tells of a test. */
export interface CardResults {
  readonly dataset: string;
  readonly num_questions: number;
  readonly rows: readonly {
    readonly label: string;
    readonly greedy: CardScore;
    readonly drawn?: CardScore;
  }[];
}

interface CardScore {
  readonly acc: number;
  readonly n_latent_forward: number;
  readonly interval: readonly [number, number];
}

/**
 * A configuration without folders of this machine: absolute paths lose all but their last part, and so does any path to a
 * method of one's own, which `model.target=FILE` then has to name.
 * @throws as `restoreConfig` does.
 */
export async function portableConfig(config: Config): Promise<Config> {
  const local = flat(config).filter(([key, value]) =>
    typeof value === "string" && isAbsolute(value) && key !== "model.target"
  );
  const settings = local.map(([key, value]) => `${key}=${JSON.stringify(basename(String(value)))}`);
  const { config: portable } = await restoreConfig(config, settings);
  const model = { ...portable.model, target: ownFile(config) ?? config.model.target };
  return { ...portable, model } as Config; // of a method of one's own any target is none of the union's
}

/** The name of the file of a method of one's own; undefined for the project's. */
function ownFile({ model: { target } }: Config): string | undefined {
  return isBuiltIn(target) ? undefined : basename(target);
}

/**
 * The `key=value` arguments that make a run's configuration out of configs/.
 * @returns undefined where its files are not there any more
 */
export async function argumentsOf(
  config: Config,
  { model, dataset, trainer }: CardOptions["names"],
): Promise<string[] | undefined> {
  let plain: Config;
  try {
    plain = (await resolveConfig({ model, dataset, trainer })).config;
  } catch {
    return undefined;
  }
  const before = new Map(flat(plain).map(([key, value]) => [key, JSON.stringify(value)]));
  const { epoch_scaling: scaling } = config.data_module;
  const isScaled = scaling !== plain.data_module.epoch_scaling;
  return flat(config).flatMap(([key, value]) => {
    if (key === "model.target") return []; // the file of configs/ names it
    const isEpochs = key === "trainer.max_epochs";
    if (before.get(key) === JSON.stringify(value) && !(isEpochs && isScaled)) return [];
    // The argument counts passes over the rows, the configuration epochs of epoch_scaling passes.
    const given = isEpochs ? Math.max(1, Math.floor(Number(value) * scaling + 1e-9)) : value;
    return [`${key}=${typeof given === "string" ? given : JSON.stringify(given)}`];
  });
}

/** The text of README.md, with the Hub's metadata before it. */
export async function modelCard(options: CardOptions): Promise<string> {
  const { repo, config, epoch, step, names, results, files } = options;
  const { model_id, do_lora } = config.model.model_kwargs;
  const { dataset_name: dataset } = config.data_module;
  const title = `${names.model} on ${basename(dataset)}`;
  const trained = do_lora ? `a LoRA adapter of ${model_id}` : `${model_id}, trained itself`;
  return [
    ...await metadata(config),
    `# ${title}`,
    "",
    `A checkpoint of colar-webgpu: \`${config.model.target}\`, ${trained}; ` +
    `step ${step}, after ${epoch} whole epochs.`,
    "",
    "## Command",
    "",
    ...await commandLines(options),
    "",
    "## Data",
    "",
    ...flat(config.data_module).filter(([, value]) => value !== null)
      .map(([key, value]) => `- \`${key}\`: ${value}`),
    "",
    "## Results",
    "",
    ...results ? resultLines(results) : ["This checkpoint was not tested."],
    "",
    "## Made with",
    "",
    ...environmentLines(options.environment, config),
    "",
    "## Use",
    "",
    ...useLines(repo, ownFile(config)),
    "",
    "| file | content |",
    "| --- | --- |",
    ...files.map((file) => `| \`${file}\` | ${CONTENTS[file] ?? ""} |`),
    "",
    `Weights made from another model's are under that model's terms too.`,
    "",
  ].join("\n");
}

function useLines(repo: string, own: string | undefined): string[] {
  const folder = repo.split("/")[1];
  const note =
    `The method is its author's own: its file, \`${own}\`, is not included. Get it from them, read it, since ` +
    "testing runs it, keep it outside of the copy, and name it as `FILE`.";
  return [
    "```sh",
    `hf download ${repo} --local-dir ${folder}`,
    `./denow task test --ckpt=${folder}${own === undefined ? "" : " model.target=FILE"}`,
    "```",
    ...own === undefined ? [] : ["", note],
  ];
}

const CONTENTS: Readonly<Record<string, string>> = {
  "README.md": "this page",
  "config.yaml": "the resolved configuration",
  "model.safetensors": "the trained tensors, float32",
  "state.json": "step, configuration, and sizes and SHA-256 of the others",
};

/** The Hub's own keys; a name that could as well be a folder's is left out. */
async function metadata(
  { model: { model_kwargs, target }, data_module }: Config,
): Promise<string[]> {
  const model = parseHubId(model_kwargs.model_id, "model");
  const base = model && isCommit(model.revision) ? model.name : undefined; // a run pins what it fetched
  const { source } = data_module;
  const isFolder = source === null || await exists(source);
  const data = isFolder ? undefined : parseHubId(source, "dataset")?.name;
  return [
    "---",
    "library_name: colar-webgpu",
    ...base ? [`base_model: ${base}`] : [],
    ...data ? ["datasets:", `- ${data}`] : [],
    "tags:",
    `- ${basename(target, ".ts")}`,
    "---",
    "",
  ];
}

async function commandLines(options: CardOptions): Promise<string[]> {
  const { config, names: { model, dataset, trainer }, beginsFromCheckpoint, results } = options;
  const settings = await argumentsOf(config, options.names);
  const parts = [
    `--model=${model}`,
    `--dataset=${dataset}`,
    ...trainer === "default" ? [] : [`--trainer=${trainer}`],
    ...beginsFromCheckpoint ? ["--load_ckpt_path=CHECKPOINT"] : [],
    ...settings ?? [],
    ...results ? ["--do_test"] : [],
  ];
  const shown = ["./denow task train", ...parts.map(quoted)].join(" \\\n  ");
  const note = settings ? [] : ["", "Its settings are in `config.yaml`."];
  return ["```sh", shown, "```", ...note];
}

/** An argument as a shell takes it. */
function quoted(argument: string): string {
  return /^[\w./@:=,+-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}

function resultLines({ dataset, num_questions, rows }: CardResults): string[] {
  const score = (value: CardScore | undefined) => {
    if (!value) return "| | |";
    const [low, high] = value.interval.map((x) => (100 * x).toFixed(1));
    return `| ${(100 * value.acc).toFixed(1)} % (${low} to ${high}) | ${
      value.n_latent_forward.toFixed(1)
    } |`;
  };
  return [
    `${num_questions} questions of ${
      basename(dataset)
    }; 95 % intervals; #L is the number of reasoning ` +
    "tokens or latents.",
    "",
    "| | greedy | #L | drawn | #L |",
    "| --- | --- | --- | --- | --- |",
    ...rows.map(({ label, greedy, drawn }) =>
      `| ${label} ${score(greedy)}${score(drawn).slice(1)}`
    ),
  ];
}

function environmentLines(environment: unknown, { seed, model }: Config): string[] {
  const { deno, os, arch, adapter } = (environment ?? {}) as Record<string, unknown>;
  const device = (adapter as { description?: unknown } | undefined)?.description;
  return [
    `- base model: \`${model.model_kwargs.model_id}\``,
    `- seed: ${seed}`,
    ...deno ? [`- Deno ${deno} on ${os} ${arch}`] : [],
    ...device ? [`- ${device}`] : [],
  ];
}

/** Values by dotted path. */
function flat(node: unknown, path = ""): [string, unknown][] {
  if (typeof node !== "object" || node === null || Array.isArray(node)) return [[path, node]];
  return Object.entries(node).flatMap(([name, below]) =>
    flat(below, path ? `${path}.${name}` : name)
  );
}
