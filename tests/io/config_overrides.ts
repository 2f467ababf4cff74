/**
 * What a recorded table says that arguments change, row by row, from run.py of xiaomi-research/colar (4b6ae9a).
 *
 * A row that is not listed below must change exactly what is recorded; a listed one says why it does not, and what
 * happens instead.
 */
import assert from "node:assert/strict";
import { ADVICE, changes, message, resolve } from "./config_cases.ts";

/** One argument, and the paths that it changed or the error that it raised. */
export interface OverrideRow {
  readonly model: string;
  readonly argument: string;
  readonly changed?: Record<string, unknown>;
  readonly removed?: string[];
  readonly error?: string;
}

/** Rows that change a switch from its published value, which our default profile has changed already. */
const RELEASED = ["average_per_token_loss=True"];

/** What happens here: values by path, or the message of an error. */
type Outcome = Record<string, unknown> | string;

interface Deviation {
  readonly because: string;
  readonly here: Readonly<Record<string, Outcome>>;
}

const NAME = "data_module.dataset_name";

/** Rows on which the published program raises an error, as here: our words. */
const SAME_ERRORS: Readonly<Record<string, string>> = {
  "dataset_name": "Argument 'dataset_name' must be key=value, as in batch_size=8",
  "lp_deterministic=True": `Unknown config key 'lp_deterministic' (${ADVICE})`,
  "lora_alfa=1": "Unknown config key 'lora_alfa' (did you mean 'lora_alpha'?)",
  "model.nowhere.key=1": `Unknown config key 'model.nowhere.key' (${ADVICE})`,
  "nowhere.key=1": `Unknown config key 'nowhere.key' (${ADVICE})`,
};

/** Rows on which we differ on purpose. */
const DEVIATIONS: readonly Deviation[] = [
  {
    because: "a value is YAML, not lower-cased JSON",
    here: {
      "lr=.5": { "model.training_kwargs.optimizer.lr": 0.5 },
      'dataset_name="GSM"': { [NAME]: "GSM" },
    },
  },
  {
    because: "a key that takes text keeps it as written",
    here: { "dataset_name=1.50": { [NAME]: "1.50" }, "dataset_name= 5": { [NAME]: "5" } },
  },
  {
    because: "a value may hold an equals sign",
    here: { "dataset_name=a=b": { [NAME]: "a=b" } },
  },
  {
    because: "the published default is gsm already, ours gsm8k_aug",
    here: { "dataset_name='gsm'": { [NAME]: "gsm" }, 'dataset_name="gsm"': { [NAME]: "gsm" } },
  },
  {
    because: "a wrong type is an error",
    here: {
      "dataset_name=[1,2]": "dataset_name must be text, got [1,2]",
      "do_rl=yes": "do_rl must be True or False, got 'yes'",
      "do_rl=1": "do_rl must be True or False, got 1",
      'dataset_name={"a":"B"}': `dataset_name must be text, got {"a":"B"}`,
    },
  },
  {
    because: "a group of keys is not replaced as a whole",
    here: {
      "lora_config=None":
        "'lora_config' is a group of keys; set them one by one, as in model.model_kwargs.lora_config.r=...",
      "model_kwargs={}":
        "'model_kwargs' is a group of keys; set them one by one, as in model.model_kwargs.model_id=...",
    },
  },
  {
    because: "an unknown key is never created",
    here: {
      "model.model_kwargs.new_key=1":
        "Unknown config key 'model.model_kwargs.new_key' (did you mean 'model.model_kwargs.pad_row'?)",
    },
  },
  {
    because: "the seed is 0 unless given, so that a run can be repeated; there is no run without",
    here: {
      "seed=None": "seed must be an integer from 0, got 'None'",
      "seed=~": "seed must be an integer from 0, got null",
      "seed=null": "seed must be an integer from 0, got null",
    },
  },
  {
    because: "only the model names a class, and it must be one that exists",
    here: {
      "target=x.Y": "target must be models/colar.ts, got 'x.Y'",
      "model.target=x.Y": "target must be models/colar.ts, got 'x.Y'",
    },
  },
  {
    because: "there is one callback, so `callbacks` is a mapping instead of a list",
    here: {
      "callbacks.save_top_k=1": { "callbacks.save_top_k": 1 },
      "save_top_k=1": { "callbacks.save_top_k": 1 },
      "monitor=val/acc": { "callbacks.monitor": "val/acc" },
    },
  },
  {
    because: "what would not be read is no key",
    here: {
      "precision=32":
        "Unknown config key 'precision' (sums are float32, weights keep the type of their file)",
      "precision=bf16-true":
        "Unknown config key 'precision' (sums are float32, weights keep the type of their file)",
      "devices=2": "Unknown config key 'devices' (it is an option: --devices)",
      "current_stage=2": `Unknown config key 'current_stage' (${ADVICE})`,
      "lp_determinisitc=True": `Unknown config key 'lp_determinisitc' (${ADVICE})`,
    },
  },
];

const deviations = new Map<string, { because: string; outcome: Outcome }>(
  DEVIATIONS.flatMap(({ because, here }) =>
    Object.entries(here).map(([argument, outcome]) => [argument, { because, outcome }] as const)
  ),
);

/** How a row is expected to come out: as published, or why not. */
export function expectation({ argument }: OverrideRow): string {
  const deviation = deviations.get(argument);
  return deviation ? `not as published, since ${deviation.because}` : "as published";
}

/** Applies a row's argument and compares what it changed. */
export async function checkOverride(row: OverrideRow): Promise<void> {
  const { model, argument, changed, removed, error } = row;
  const deviation = deviations.get(argument);
  const expected = deviation?.outcome ?? (error ? SAME_ERRORS[argument] : changed);
  if (typeof expected === "string") {
    assert.equal(await message(() => resolve(model, argument)), expected);
    return;
  }
  const profile = RELEASED.includes(argument) ? ["profile=released"] : [];
  const { config, set } = await resolve(model, ...profile, argument);
  const found = changes((await resolve(model, ...profile)).config, config);
  assert.deepEqual(found, expected, argument);
  if (!deviation) assert.deepEqual(removed, []);
  if (deviation) assert.notDeepEqual(found, changed, "this row agrees: take it off the list");
  // Epochs follow epoch_scaling without being named.
  const named = Object.keys(found).filter((path) => path.includes(argument.split("=")[0]));
  assert.deepEqual(set.slice(profile.length), [{ argument, paths: named }]);
}

/** Compares which rows a table has: all that are listed here, and none twice. */
export function checkRows(table: readonly OverrideRow[]): void {
  const recorded = table.map(({ argument }) => argument);
  assert.ok(recorded.length >= 66 && new Set(recorded).size === recorded.length);
  for (const listed of [...deviations.keys(), ...Object.keys(SAME_ERRORS)]) {
    assert.ok(recorded.includes(listed), listed);
  }
}
