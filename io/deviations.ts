/**
 * docs/deviations.md: every point where the published code departs from its paper or from itself, and what is done
 * about it here. The table of switches is made of config_profile.ts and the schemas; the rows that are no switch, with
 * why, stand below.
 *
 * Rows are those of an audit of xiaomi-research/colar at 4b6ae9a: A changes published numbers or makes a method wrong,
 * B affects training, reinforcement or comparability.
 */
import { writeAtomic } from "./atomic.ts";
import type { Value } from "./config_kinds.ts";
import { isSwitch, SWITCHES } from "./config_profile.ts";
import { SCHEMAS } from "./config_schema.ts";
import { keysOf, nameOf } from "./config_tree.ts";

/** A row of the audit that is no switch. */
export interface PlainRow {
  readonly row: string;
  /** Lines of the published code, or what of it. */
  readonly where: string;
  /** What the published code does. */
  readonly published: string;
  /** What is done here, and why nothing switches it. */
  readonly here: string;
}

const row = (name: string, where: string, published: string, here: string): PlainRow => ({
  ...{ row: name, where, published, here },
});

/** The rows that are no switch, in the audit's order. */
export const PLAIN_ROWS: readonly PlainRow[] = [
  row(
    "A9",
    "distill.py:10, configs/models/distill.yaml:4",
    "the configuration names a class that does not exist, so Distill cannot run",
    "it runs; there is nothing to reproduce",
  ),
  row(
    "A10",
    "distill.py:19-21,82,89-90,117-119",
    "Distill departs from CODI: projector always on and without a norm, distance not over the " +
      "teacher's deviation, adapter on q and v only, last step kept, other learning rate",
    "plain keys (distill_proj, proj_layer_norm, distill_loss_div_std, include_last_cot, " +
      "target_modules, lr), since both are methods of their own: --model=distill, --model=codi",
  ),
  row(
    "A11",
    "distill.py:56-74,91-96",
    "teacher and student are handed one cache; with the pinned library neither sees the other's " +
      "tokens, with a later one it crashes",
    "each extends a cache of its own: the same numbers",
  ),
  row(
    "A15",
    "colar.py:71,98-100",
    "c is drawn once a batch; at c = 1 pads keep their embedding and ### stays a latent",
    "the same in both profiles: nothing in the paper speaks against it",
  ),
  row(
    "A16",
    "colar.py:200-211, constants.py",
    "latents are in units of a constant for each of five models; another model is a KeyError",
    "embeds_std is a plain key: auto takes those constants, and measures where there is none",
  ),
  row(
    "A19",
    "grpo.py:150-151,162-186",
    "latents and answer are averaged apart and added; no KL, no entropy",
    "the same in both profiles: the published results are those of this loss",
  ),
  row(
    "B2",
    "model_base.py:265-304",
    "stopping is decided after a latent, so there is at least one; the forced ### is not counted",
    "the same in both profiles: training has no row without a latent either",
  ),
  row(
    "B3",
    "model_base.py:325-327",
    "the answer's text computes prompt and latents anew",
    "one cache throughout: the same numbers, faster",
  ),
  row(
    "B4",
    "model_base.py:427-435",
    "answers are compared as Python's float reads them",
    "the same grammar in both profiles, so that accuracies can be compared",
  ),
  row(
    "B5",
    "model_base.py:421-425",
    "the answer is what follows the first Answer:, else the whole text",
    "the same in both profiles, so that accuracies can be compared",
  ),
  row(
    "B7",
    "data_preprocessing/multiarith.py, svamp.py",
    "MultiArith and SVAMP are tested on all their rows, by CODI on other splits",
    "a plain key, test_split, which each table names: all in both profiles, as the paper; test " +
      "for a set's own test rows",
  ),
  row(
    "B8",
    "data_preprocessing/gsmhard.py",
    "answers such as 26.333333333333332 must be met exactly within 16 tokens",
    "the same in both profiles, so that accuracies can be compared; plain keys, max_new_tokens and " +
      "answer_tolerance, which adds a second accuracy",
  ),
  row(
    "B11",
    "colar.py:83-88",
    "replace_r_with_auto_prob is 0 and no key of the file, so CoLaR never trains the speed auto",
    "a plain key with the published 0",
  ),
  row(
    "B14",
    "colar.py:160-164, utils.py:12-22",
    "a group's label is one of its tokens, drawn",
    "the same in both profiles: it is the paper's loss",
  ),
  row(
    "B15",
    "colar.py:204-210,254-255",
    "entropy_weight is 0 where the paper's soft-MSE has the entropy, so sigma goes to 0",
    "a plain key with the published 0 in both profiles: the published files give the term no other " +
      "weight, so that corrected would have to invent one; a negative weight rewards entropy",
  ),
  row(
    "B16",
    "projector.py:28-38",
    "the key of the deterministic head is misspelt, so that its right spelling does nothing",
    "lp_deterministic is a plain key and both spellings set it; with nll it is refused",
  ),
  row(
    "B17",
    "model_base.py:177-179",
    "no BOS and no chat template, although the model is an Instruct one",
    "the same in both profiles: published checkpoints were trained so",
  ),
  row(
    "B19",
    "model_base.py:58",
    "the adapter sits where the library puts it: q_proj and v_proj, or c_attn",
    "target_modules is a plain key; null is that",
  ),
  row(
    "B20",
    "configs/trainer/default.yaml",
    "supervised training has no clipping, a constant rate, and decays norms and biases too",
    "plain keys with those values: gradient_clip_val, schedule, weight_decay",
  ),
  row(
    "B21",
    "model_base.py:226,269,298, colar.py:437,447",
    "a rollout may be drawn at a temperature or with top_p, its log-probabilities are at 1 and whole",
    "the same in both profiles; they are those of the draws where latent_temperature, " +
      "eol_temperature, temperature and top_p are 1, top_k is 0 and pad_in_answer is True",
  ),
  row(
    "B23",
    "colar.py:407-409",
    "punish_latent_length divides the reward by the number of latents; off",
    "a plain key with that default",
  ),
  row(
    "B24",
    "colar.py:293-333",
    "one pass over shuffled minibatches of one rollout; dropout is on; no accumulation",
    "the same in both profiles, but without dropout of any kind: `lora_dropout` must be 0, and " +
      "GPT-2's own (resid, attn, embd: 0.1), which the published run has in train mode, is " +
      "nowhere in this program; accumulation is refused",
  ),
  row(
    "C1",
    "configs/models/*.yaml",
    "keys that nothing reads: pred_compressed_cot, random_speed_in_group, filter_dataset, " +
      "clip_grad_norm, distill_proj, coconut's current_stage and coconut_proj",
    "all but the last two are plain keys, and read",
  ),
  row(
    "C11",
    "run.py:30,134",
    "an answer's draws depend on batch and order",
    "draws are keyed by seed, question and position: no expected number changes",
  ),
];

const HEADER = `# Where the published code departs, and what is done here

The published CoLaR code (xiaomi-research/colar at 4b6ae9a) departs from its paper or from itself at
the points below. \`profile: released\` does as it does, \`profile: corrected\`, the default, as the
paper or plain sense asks; a run's config shows every switch resolved. Each switch is also a key:
\`./denow task train --model=colar layout=as-released\` changes one alone. Rows are those of an audit:
A changes published numbers or makes a method wrong, B affects training, reinforcement or
comparability. Every one of both has a line in one of the two tables.

This file is generated: \`./denow task docs\`.
`;

/** The whole of docs/deviations.md. */
export function deviationsText(): string {
  const switches = Object.entries(SWITCHES).map(([name, entry]) => [
    code(name),
    methodsWith(name),
    value(entry.released),
    value(entry.corrected),
    entry.changes,
    entry.row,
    code(entry.where),
  ]);
  const plain = PLAIN_ROWS.map(({ row, where, published, here }) => [
    ...[row, published, here, code(where)],
  ]);
  const columns = ["switch", "methods", "released", "corrected", "what it changes", "row"];
  return `${HEADER}
## Switches

${table([...columns, "published lines"], switches)}

## Rows that are no switch

${table(["row", "published", "here, and why nothing switches it", "published lines"], plain)}
`;
}

/** The methods whose schema has a switch, by name. */
function methodsWith(name: string): string {
  const models = Object.entries(SCHEMAS);
  const having = models.filter(([, schema]) =>
    [...keysOf(schema)].some(([path, kind]) => isSwitch(kind) && nameOf(path) === name)
  );
  const names = having.map(([target]) => target.replace(/^models\/|\.ts$/g, ""));
  return having.length === models.length ? "all" : names.join(", ");
}

const code = (text: string) => `\`${text}\``;
const value = (of: Value) => code(typeof of === "boolean" ? of ? "True" : "False" : String(of));

/** A table as the formatter writes it: every column as wide as its widest cell. */
function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((name, i) => Math.max(name.length, ...rows.map((r) => r[i].length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`;
  const rule = line(widths.map((width) => "-".repeat(width)));
  return [line(columns), rule, ...rows.map(line)].join("\n");
}

if (import.meta.main) {
  const path = new URL("../docs/deviations.md", import.meta.url).pathname;
  await writeAtomic(path, deviationsText());
  console.log(path);
}
