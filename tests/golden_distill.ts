/** Golden cases of Distill: losses, gradients and compared states of a batch; latents and answers. */
import assert from "node:assert/strict";
import { Graph } from "../autograd/tape.ts";
import { Distill, type DistillOptions } from "../models/distill.ts";
import { IGNORED } from "../models/language_loss.ts";
import type { Distilled } from "../models/self_distillation.ts";
import { type LaidRow, layFollowing, longestOf } from "../models/segments.ts";
import { lessonBatch } from "../models/teacher_student.ts";
import { HIDDEN, LATENTS, type MethodSet } from "./golden_method_set.ts";
import { compareChainAnswers } from "./golden_stages.ts";
import { AS_TRAINED } from "./models/tiny_method.ts";

/** One batch: what is fed, the losses, the states at the `:`, gradients. */
export async function checkDistill(set: MethodSet): Promise<void> {
  const { gpu, golden, rows, tokenizer } = set;
  using method = await buildDistill(set);
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const found = method.loss(g, rows);
  await compareStates(set, found);
  await set.gradients(g, method, found);

  const batch = lessonBatch(tokenizer, rows, true);
  const { teacherLayout, studentLayout, numLatents } = method.settings;
  const { padId } = tokenizer;
  const column = longestOf(batch.questions);
  compareLaid(set, "teacher", layFollowing(batch.explained, { ...teacherLayout, column, padId }));
  compareLaid(
    set,
    "student",
    layFollowing(batch.answered, { ...studentLayout, column: column + numLatents, padId }),
  );
  if (set.isCorrected) return;
  const mask = golden.ints("question.attention_mask");
  const ids = [...golden.ints("question.input_ids")].filter((_, i) => mask[i]);
  golden.same(batch.questions.flat(), "question.input_ids of real tokens", ids);
  golden.ignore("question.position_ids", "latent_position_ids"); // the latents depend on them
}

/** Rows against the recorded columns: as released all of them, else those that carry a label. */
function compareLaid(set: MethodSet, pass: string, laid: readonly LaidRow[]): void {
  const { golden } = set;
  const corrected = set.isCorrected;
  const prefix = `${pass}${corrected ? "_" : "."}`;
  const [ids, labels, positions] = ["input_ids", "labels", "position_ids"]
    .map((name) => golden.ints(prefix + name));
  const [, T] = golden.shape(`${prefix}labels`);
  const kept = [...labels.keys()].filter((i) => !corrected || labels[i] >= 0);
  const of = (what: (row: LaidRow) => readonly number[]) => laid.flatMap(what);
  golden.same(of((row) => row.ids), `${pass} ids`, kept.map((i) => ids[i]));
  // As released the first label is dropped by the shift inside of the loss.
  const expected = kept.map((i) => !corrected && i % T === 0 ? IGNORED : labels[i]);
  golden.same(of((row) => row.labels), `${pass} labels`, expected);
  if (!corrected) {
    const own = of((row) => row.positions!);
    golden.same(own, `${pass} positions`, kept.map((i) => positions[i]));
  }
  golden.ignore(`${prefix}attention_mask`); // the losses depend on it
}

/** Latents as fed, [B, n, D], and hidden states at the `:`, [B, D, L]. */
async function compareStates({ gpu, golden, rows }: MethodSet, found: Distilled): Promise<void> {
  const [B, n, D] = golden.shape("latents");
  const latents = new Float32Array(B * n * D);
  for (const [i, latent] of found.latents.entries()) {
    const numbers = await gpu.read(latent);
    for (let b = 0; b < B; b++) {
      latents.set(numbers.subarray(b * D, (b + 1) * D), (b * n + i) * D);
    }
  }
  golden.close(latents, "latents", LATENTS);
  for (const name of ["teacher", "student"] as const) {
    const states = await gpu.read(found[`${name}States`]); // [L * B, D]
    const [, , L] = golden.shape(`${name}_hidden`);
    assert.equal(states.length, L * rows.length * D);
    const turned = states.map((_, i) => {
      const [b, d, l] = [Math.floor(i / (D * L)), Math.floor(i / L) % D, i % L];
      return states[(l * B + b) * D + d];
    });
    golden.close(turned, `${name}_hidden`, HIDDEN);
  }
  golden.ignore("teacher_colon"); // the states depend on it
}

/** Six latents and a greedy answer for each row. */
export async function checkFixedLengthDistill(set: MethodSet): Promise<void> {
  using method = await buildDistill(set);
  await compareChainAnswers(set, method);
}

async function buildDistill(set: MethodSet): Promise<Distill> {
  const { config } = set.golden.json;
  const { alpha = 1, beta = 1, gamma = 20 } = config;
  const options: DistillOptions = {
    ...set.common(config.max_new_tokens ?? set.meta.max_new_tokens),
    distill_config: {
      n_latents: config.n_latents,
      distill_proj: true,
      proj_layer_norm: false,
      distill_loss_div_std: false,
      include_last_cot: true,
      alpha,
      beta,
      gamma,
      label_pads: set.preset("label_pads"),
      supervise_transition: set.preset("supervise_transition"),
      position_ids: set.preset("position_ids"),
    },
    latent_generation_config: {
      ...AS_TRAINED,
      cache_in_latent_loop: set.preset("cache_in_latent_loop"),
    },
  };
  const method = new Distill({ ...await set.context(), options });
  set.write(method);
  return method;
}
