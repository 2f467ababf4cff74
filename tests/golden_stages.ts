/** Golden cases of the methods with stages, iCoT and Coconut: losses, latents, answers, a run, and the table of stages. */
import assert from "node:assert/strict";
import { Graph } from "../autograd/tape.ts";
import { SWITCHES } from "../io/config_profile.ts";
import { chainGenerate } from "../models/chain_generate.ts";
import { Coconut, type CoconutOptions } from "../models/coconut.ts";
import { Icot, type IcotOptions } from "../models/icot.ts";
import { IGNORED } from "../models/language_loss.ts";
import type { LaidRow } from "../models/segments.ts";
import { stageAt, type StageOptions } from "../models/stages.ts";
import type { GoldenCase } from "./golden_case.ts";
import { LATENTS, type MethodSet, padded } from "./golden_method_set.ts";
import { AS_TRAINED } from "./models/tiny_method.ts";

/** A batch at a stage: its tokens and labels, the latents, loss and gradients. */
export async function checkStage(set: MethodSet): Promise<void> {
  const { gpu, golden, rows } = set;
  const { stage: number, max_n_stage: max } = golden.json.config;
  const stage = { number, numRemoved: number === max ? Infinity : number, numReplaced: number };
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  if (golden.json.case.includes("icot")) {
    using method = await buildIcot(set);
    await set.gradients(g, method, method.stageLoss(g, rows, stage));
    compareFollowing(set, method.batch(rows, stage));
    if (golden.has("latents")) golden.close([], "latents", LATENTS);
    return;
  }
  using method = await buildCoconut(set);
  const losses = method.stageLoss(g, rows, stage);
  const latents = await Promise.all(losses.chain.latents.map((latent) => gpu.read(latent)));
  await set.gradients(g, method, losses);
  golden.close(byRow(latents, rows.length), "latents", LATENTS);
  compareFollowing(set, losses.following);
  golden.ignore("latent_position_ids"); // the latents depend on them
}

/** What follows the latents, or the question, against the recorded columns; a row's last tokens are these. */
function compareFollowing(set: MethodSet, rows: readonly LaidRow[]): void {
  const { golden } = set;
  const corrected = set.isCorrected;
  const prefix = corrected ? "" : "final.";
  const [B, S] = golden.shape(`${prefix}input_ids`);
  const ids = golden.ints(`${prefix}input_ids`);
  const labels = golden.ints(`${prefix}labels`);
  const mask = golden.numbers(`${prefix}attention_mask`);
  const positions = golden.ints(`${prefix}position_ids`);
  const width = mask.length / B;
  rows.forEach((row, b) => {
    const columns = Array.from({ length: S }, (_, i) => b * S + i);
    const isReal = columns.map((_, i) => mask[b * width + width - S + i]);
    // Where pads carry no label they are not there.
    const kept = columns.filter((_, i) => !corrected || isReal[i]);
    const first = row.length - kept.length;
    golden.same(row.ids.slice(first), `ids of row ${b}`, kept.map((i) => ids[i]));
    golden.same(row.visible.slice(first), "mask", kept.map((i) => isReal[i - b * S]));
    // As released the first label is dropped by the shift inside of the loss.
    const expected = kept.map((i, n) => n === 0 && !corrected ? IGNORED : labels[i]);
    golden.same(row.labels.slice(first), `labels of row ${b}`, expected);
    if (row.positions) {
      golden.same(row.positions.slice(first), "positions", kept.map((i) => positions[i]));
    }
  });
  const names = ["input_ids", "attention_mask", "position_ids"];
  golden.ignore(...names.flatMap((name) => [`question.${name}`, `question_${name}`]));
}

/** Six latents, then the answer's ids. */
export async function checkChainGeneration(set: MethodSet): Promise<void> {
  using method = await buildCoconut(set);
  await compareChainAnswers(set, method);
}

/** Answers all rows, and compares latents, ids and text. */
export async function compareChainAnswers(
  { golden, rows, tokenizer }: MethodSet,
  method: Pick<Coconut, "thinker">,
): Promise<void> {
  const questions = rows.map(({ question }, id) => ({ id, question }));
  const options = { speed: "auto", greedy: true, seed: 0 } as const;
  const answers = await chainGenerate(method.thinker, questions, options, true);
  golden.same(padded(answers.map(({ ids }) => ids), tokenizer.padId), "pred_ids");
  const [B, N, D] = golden.shape("latents");
  const latents = new Float32Array(B * N * D);
  answers.forEach((answer, b) =>
    answer.latents.forEach((latent, n) => latents.set(latent, (b * N + n) * D))
  );
  golden.close(latents, "latents", LATENTS);
  answers.forEach(({ output, ids, reasoningLength }, b) => {
    assert.equal(output, golden.json.output_strings[b]);
    assert.equal(ids.length, golden.json.output_lengths[b]);
    assert.equal(reasoningLength, golden.json.config.n_latents);
  });
}

/** The text that follows a question. */
export async function checkIcotText(set: MethodSet): Promise<void> {
  const { golden, rows, tokenizer } = set;
  using method = await buildIcot(set);
  const questions = rows.map(({ question }, id) => ({ id, question }));
  const answers = await method.answer(questions, { speed: "auto", greedy: true, seed: 0 });
  golden.same(padded(answers.map(({ ids }) => ids), tokenizer.padId), "pred_ids");
  answers.forEach(({ output, ids }, b) => {
    assert.equal(output, golden.json.output_strings[b]);
    assert.equal(ids.length, golden.json.output_lengths[b]);
  });
  if (!golden.has("n_latent_forward")) return;
  golden.same(answers.map(({ reasoningLength }) => reasoningLength), "n_latent_forward");
  golden.ignore("input_ids", "attention_mask");
}

/** Ten steps of Coconut through its stages. */
export async function checkCoconutRun(set: MethodSet): Promise<void> {
  using method = await buildCoconut(set);
  await set.train(method, (g, rows, step, i) => {
    const draw = { seed: 0, step: i, epoch: step.current_epoch, progress: 0 };
    return method.loss(g, rows, draw);
  });
}

/** The stage by epoch, released and corrected. */
export function checkStageTable(golden: GoldenCase): void {
  for (const { n_epochs_per_stage, current_epoch, max_n_stage, ...stages } of golden.json.table) {
    for (const profile of ["released", "corrected"] as const) {
      const stage_rule = SWITCHES.stage_rule[profile];
      const options = { stage_rule, n_epochs_per_stage, max_n_stage, n_initial_epochs: 6 };
      const staged = { ...options, stage_ends: null } as StageOptions;
      const { number } = stageAt(staged, { epoch: current_epoch, progress: 0 });
      assert.equal(number, stages[profile], `n ${n_epochs_per_stage}, epoch ${current_epoch}`);
      golden.compared++;
    }
  }
}

/** Latents [B, D] each as [B, N, D]. */
function byRow(latents: readonly Float32Array[], B: number): number[] {
  const D = latents[0].length / B;
  return Array.from(
    { length: B },
    (_, b) => latents.flatMap((latent) => [...latent.subarray(b * D, (b + 1) * D)]),
  ).flat();
}

function stagedConfig(set: MethodSet) {
  return {
    stage_rule: set.preset("stage_rule"),
    n_epochs_per_stage: 1,
    n_initial_epochs: 0,
    max_n_stage: set.golden.json.config.max_n_stage ?? 3,
    stage_ends: null,
    label_pads: set.preset("label_pads"),
    supervise_transition: set.preset("supervise_transition"),
    final_newline: set.preset("final_newline"),
    position_ids: set.preset("position_ids"),
  };
}

async function buildIcot(set: MethodSet): Promise<Icot> {
  const { config } = set.golden.json;
  const icot_prompt = set.preset("icot_prompt");
  const options: IcotOptions = {
    ...set.common(config.max_new_tokens ?? 16),
    icot_config: { ...stagedConfig(set), icot_prompt },
  };
  const method = new Icot({ ...await set.context(), options });
  set.write(method);
  return method;
}

async function buildCoconut(set: MethodSet): Promise<Coconut> {
  const { config } = set.golden.json;
  const options: CoconutOptions = {
    ...set.common(config.max_new_tokens ?? 16),
    coconut_config: { ...stagedConfig(set), n_latents_per_step: 2 },
    latent_generation_config: {
      ...AS_TRAINED,
      cache_in_latent_loop: set.preset("cache_in_latent_loop"),
    },
  };
  const method = new Coconut({ ...await set.context(), options });
  set.write(method);
  return method;
}
