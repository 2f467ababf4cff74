/**
 * Golden cases of the methods: what the published code computes on a tiny random model, and what the corrected
 * variants must compute. A set is a folder with model/, initial.safetensors, rows.json, meta.json and cases/.
 */
import assert from "node:assert/strict";
import { Graph } from "../autograd/tape.ts";
import { parseQsa } from "../data/qsa.ts";
import type { Gpu } from "../gpu/device.ts";
import { SWITCHES } from "../io/config_profile.ts";
import { loadSafetensors } from "../io/safetensors.ts";
import { loadTokenizer } from "../io/tokenizer.ts";
import { Colar, type Supervised } from "../models/colar.ts";
import { predictions } from "../models/language_loss.ts";
import { logits } from "../ops/cross_entropy.ts";
import { gather } from "../ops/gather.ts";
import type { GoldenCase } from "./golden_case.ts";
import { checkDistill, checkFixedLengthDistill } from "./golden_distill.ts";
import { checkEqualRewards, checkGrpoLoss, checkGrpoStep, checkRollout } from "./golden_grpo.ts";
import {
  HIDDEN,
  LATENTS,
  LOG_PROBS,
  MethodSet,
  padded,
  profileOf,
  supervised,
} from "./golden_method_set.ts";
import {
  checkChainGeneration,
  checkCoconutRun,
  checkIcotText,
  checkStage,
  checkStageTable,
} from "./golden_stages.ts";
import {
  checkAnswers,
  checkConfigOverrides,
  checkEvaluation,
  checkReasoningLength,
  checkTokenizer,
} from "./golden_tables.ts";

/** How cases of one kind are checked; kinds are told by their whole name. */
type Check = (check: MethodCheck) => Promise<void> | void;

const CHECKS: readonly (readonly [RegExp, Check])[] = [
  [/^cot$/, (check) => check.cot()],
  [
    /^colar_r\d(_(auto|deterministic|entropy|mean_pooling|nll|second_pass))?$/,
    (check) => check.colar(),
  ],
  [
    /^corrected_colar_r\d(_(answer_only|second_pass|separator_masked))?$/,
    (check) => check.colar(),
  ],
  [/^latent_generate_(greedy_c\d|sampled|temperatures)$/, (check) => check.think()],
  [/^latent_generate_rl_mode$/, (check) => check.rolledOut()],
  [/^text_generate_cot$/, (check) => check.textCot()],
  [/^trajectory_(cot|colar)$/, (check) => check.trajectory()],
  [/^(corrected_)?(icot|coconut)_stage\d$/, checkStage],
  [/^(corrected_)?fixed_length_coconut$/, checkChainGeneration],
  [/^(corrected_)?text_generate_icot$/, checkIcotText],
  [/^trajectory_coconut$/, checkCoconutRun],
  [/^stages$/, ({ golden }) => checkStageTable(golden)],
  [/^(corrected_)?distill$/, checkDistill],
  [/^(corrected_)?fixed_length_distill$/, checkFixedLengthDistill],
  [/^grpo_rollout_(mixed|equal)(_punished)?$/, checkRollout],
  [/^grpo_loss_(average|sum32)(_(latent|answer))?$/, checkGrpoLoss],
  [/^corrected_grpo_loss(_latent_sum)?$/, checkGrpoLoss],
  [/^grpo_step_batch[48]$/, checkGrpoStep],
  [/^grpo_equal_rewards$/, ({ golden }) => checkEqualRewards(golden)],
  [/^tokenizer$/, ({ golden, tokenizer }) => checkTokenizer(golden, tokenizer)],
  [/^answers$/, ({ golden }) => checkAnswers(golden)],
  [/^reasoning_length$/, ({ golden, tokenizer }) => checkReasoningLength(golden, tokenizer)],
  [/^evaluation$/, ({ golden, tokenizer, rows }) => checkEvaluation(golden, tokenizer, rows)],
  [/^config_overrides$/, ({ golden }) => checkConfigOverrides(golden)],
];

/** How a case is checked; undefined for a name that is not known in full. */
export function checkOf(name: string): Check | undefined {
  return CHECKS.find(([pattern]) => pattern.test(name))?.[1];
}

/** Compares everything in one case of a set. */
export async function checkMethod(gpu: Gpu, set: string, golden: GoldenCase): Promise<void> {
  const name: string = golden.json.case;
  const check = checkOf(name);
  if (!check) throw new TypeError(`${set}: case ${JSON.stringify(name)} is of no known kind`);
  const meta = JSON.parse(await Deno.readTextFile(`${set}/meta.json`));
  const rows = parseQsa(JSON.parse(await Deno.readTextFile(`${set}/rows.json`)), "rows.json");
  const separatorTokens = SWITCHES.separator_tokens[profileOf(golden)];
  const tokenizer = await loadTokenizer(`${set}/model`, separatorTokens);
  const initial = await loadSafetensors(`${set}/initial.safetensors`);
  await check(new MethodCheck(gpu, set, golden, meta, rows, tokenizer, initial));
}

class MethodCheck extends MethodSet {
  async cot(): Promise<void> {
    const { gpu, golden, rows } = this;
    using method = await this.buildCot();
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    await this.gradients(g, method, method.loss(g, rows));
    const batch = method.batch(rows);
    const hidden = method.hidden(new Graph(gpu, scope, { training: false }), batch);
    const { tokens, labels } = predictions(batch.labels);
    golden.same(labels, "labels_supervised", supervised(golden.ints("labels")));
    const padded = logits(
      g,
      gather(g, g.stopGradient(hidden), tokens),
      g.stopGradient(method.backbone.head),
    );
    const [, width] = golden.shape("logits_at_supervised");
    const stride = padded.shape[1];
    const numbers = await gpu.read(padded);
    const cut = Float32Array.from(
      { length: tokens.length * width },
      (_, i) => numbers[Math.floor(i / width) * stride + i % width],
    );
    golden.close(cut, "logits_at_supervised", HIDDEN);
    const mask = golden.ints("attention_mask");
    const visible = batch.visible.flat();
    const ids = [...batch.ids].filter((_, i) => visible[i]);
    golden.same(ids, "real input_ids", [...golden.ints("input_ids")].filter((_, i) => mask[i]));
    golden.ignore("position_ids"); // the logits depend on them
  }

  async colar(): Promise<void> {
    const { gpu, golden, rows } = this;
    using method = await this.buildColar();
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const isAuto = golden.json.config["latent_cot_config.replace_r_with_auto_prob"] === 1;
    const r: number = golden.json.config.r;
    const found = method.supervisedLoss(g, rows, this.draws("", r, isAuto ? "auto" : r, rows));
    const values = {
      embeds: found.inputsEmbeds,
      second: found.secondInputsEmbeds,
      states: found.states,
      mean: found.mean,
      logStd: found.logStd,
    };
    const read = Object.fromEntries(
      await Promise.all(
        Object.entries(values).filter(([, x]) => x)
          .map(async ([name, x]) => [name, await gpu.read(x!)] as const),
      ),
    );
    await this.gradients(g, method, found);

    const places = found.batch.latents.filter(({ isGroup }) => isGroup);
    const [B, S, D] = golden.shape("mean");
    const groupMask = new Int32Array(B * S);
    for (const { row, column } of places) groupMask[row * S + column] = 1;
    golden.same(groupMask, "group_mask");
    const byColumn = (numbers: Float32Array) => {
      const out = new Float32Array(B * S * D);
      found.batch.latents.forEach(({ row, column }, i) =>
        out.set(numbers.subarray(i * D, (i + 1) * D), (row * S + column) * D)
      );
      return out;
    };
    golden.close(byColumn(read.mean), "mean", HIDDEN, groupMask);
    golden.close(byColumn(read.logStd.map(Math.exp)), "std", HIDDEN, groupMask);
    if (golden.has("last_hidden_state_steps")) {
      golden.close(byColumn(read.states), "last_hidden_state_steps", HIDDEN, groupMask);
    }
    this.compareTokens(found.batch.first, "", read.embeds, D);
    if (found.batch.second) {
      const prefix = this.isCorrected ? "second_" : "second.";
      this.compareTokens(found.batch.second, prefix, read.second, D);
    }
    if (this.isCorrected && golden.has("group_ids")) this.compareGroups(found, r);
    assert.equal(golden.ints("steps_length")[0], S);
    golden.ignore("question_length");
  }

  /** Visible tokens of a pass against the visible columns of the padded batch, and all labels in order. */
  compareTokens(
    pass: NonNullable<Supervised["batch"]["second"]>,
    prefix: string,
    embeds: Float32Array,
    D: number,
  ): void {
    const { golden } = this;
    const mask = golden.ints(`${prefix}attention_mask`);
    const byPosition = golden.has(`${prefix}position_ids`);
    const positions = golden.ints(`${byPosition ? prefix : ""}position_ids`);
    const name = `${prefix}inputs_embeds`;
    const visible = pass.rows.flatMap((row) => Array.from(row.visible!));
    const columns = [...mask.keys()].filter((i) => mask[i]);
    const tokens = visible.flatMap((v, i) => v ? [i] : []);
    assert.equal(tokens.length, columns.length, `${prefix}visible tokens`);
    const out = new Float32Array(golden.shape(name).reduce((a, b) => a * b, 1));
    tokens.forEach((token, i) =>
      out.set(embeds.subarray(token * D, (token + 1) * D), columns[i] * D)
    );
    golden.close(out, name, HIDDEN, mask);
    golden.same(
      supervised(pass.labels),
      `${prefix}labels in order`,
      supervised(golden.ints(`${prefix}labels`)),
    );
    const count = pass.rows.flatMap(({ visible: row }) => {
      let seen = 0;
      return Array.from(row!, (v) => (seen += v) - 1).filter((_, i) => row![i]);
    });
    golden.same(count, `${prefix}positions of real tokens`, columns.map((i) => positions[i]));
  }

  /** The token ids of the groups of the clean layout. */
  compareGroups({ batch }: Supervised, r: number): void {
    const { golden } = this;
    const [, S] = golden.shape("group_mask");
    const ids = golden.ints("group_ids");
    const mask = golden.ints("group_token_mask");
    const groups = batch.latents.filter(({ isGroup }) => isGroup);
    const own = r === 1 ? [] : groups.flatMap((
      _,
      i,
    ) => [...batch.pooledIds.subarray(batch.groupOffsets[i + 1], batch.groupOffsets[i + 2])]);
    const recorded = groups.flatMap(({ row, column }) => {
      const first = (row * S + column) * r;
      return [...ids.subarray(first, first + r)].filter((_, i) => mask[first + i]);
    });
    golden.same(own, "group ids", recorded);
  }

  async think(): Promise<void> {
    const { golden, tokenizer } = this;
    const { config } = golden.json;
    const greedy = config.do_sample === false;
    using method = await this.buildColar();
    const temperature = config.latent_temperature ?? 1;
    const [B, N, D] = golden.shape("latent_inputs_embeds");
    const responses = await this.respond(method, config.compression_factor, greedy);
    golden.same(responses.map(({ reasoningLength }) => reasoningLength), "n_latent_forward");
    golden.same(padded(responses.map(({ ids }) => ids), tokenizer.padId), "pred_ids");
    const live = new Int32Array(B * N);
    const log = new Float32Array(B * N);
    const [embeds, mean, std] = [0, 1, 2].map(() => new Float32Array(B * N * D));
    responses.forEach(({ thought: { latents } }, b) =>
      latents.forEach((latent, n) => {
        const i = b * N + n;
        live[i] = 1;
        log[i] = latent.separatorLogProb;
        embeds.set(latent.embeds, i * D);
        mean.set(latent.mean, i * D);
        std.set(latent.logStd.map((x) => temperature * Math.exp(x)), i * D);
      })
    );
    golden.same(live, "latent_attention_mask");
    golden.close(embeds, "latent_inputs_embeds", LATENTS, live);
    golden.close(mean, "latent_mean", LATENTS, live);
    golden.close(std, "latent_std", LATENTS, live);
    // A GPU's exp and square root are good to 2 or 3 ulp, which the chain of latents amplifies: 2.9e-3 seen on an H200.
    const abs = this.gpu.isSoftware ? LOG_PROBS.abs : 4 * LOG_PROBS.abs;
    golden.close(log, "separator_logprob", { ...LOG_PROBS, abs }, live);
    if (golden.has("stopped")) {
      const stopped = golden.ints("stopped");
      responses.forEach(({ thought }, b) =>
        assert.equal(thought.stopped, stopped[b * N + thought.numLatents - 1] === 1)
      );
    }
    golden.json.output_strings.forEach((text: string, b: number) => {
      assert.equal(responses[b].output, text);
      assert.equal(responses[b].ids.length, golden.json.output_lengths[b]);
    });
    golden.ignore("latent_position_ids", "question_attention_mask", "question_position_ids");
  }

  /** What RL will be handed: the same run once more, with the prompt's ids. */
  async rolledOut(): Promise<void> {
    const { golden, tokenizer } = this;
    using method = await this.buildColar();
    const [B, N, D] = golden.shape("latent_inputs_embeds");
    const responses = await this.respond(method, golden.json.config.compression_factor, true);
    const answers = responses.map(({ ids }) => [tokenizer.separatorId, ...ids]);
    golden.same(padded(answers, tokenizer.padId), "answer_input_ids");
    const embeds = new Float32Array(B * N * D);
    const live = golden.ints("latent_attention_mask");
    responses.forEach(({ thought: { latents } }, b) =>
      latents.forEach((latent, n) => embeds.set(latent.embeds, (b * N + n) * D))
    );
    golden.close(embeds, "latent_inputs_embeds", LATENTS, live);
    golden.ignore("question_attention_mask", "question_input_ids");
  }

  async textCot(): Promise<void> {
    const { golden, rows, tokenizer } = this;
    using method = await this.buildCot(golden.json.config.max_new_tokens);
    const questions = rows.map(({ question }, id) => ({ id, question }));
    const answers = await method.answer(questions, { speed: 1, greedy: true, seed: 0 });
    golden.same(padded(answers.map(({ ids }) => ids), tokenizer.padId), "pred_ids");
    golden.same(answers.map(({ reasoningLength }) => reasoningLength), "n_latent_forward");
    answers.forEach(({ output, ids }, b) => {
      assert.equal(output, golden.json.output_strings[b]);
      assert.equal(ids.length, golden.json.output_lengths[b]);
      const index = ids.indexOf(tokenizer.separatorId);
      assert.equal(index < 0 ? null : index, golden.json.separator_index[b]);
    });
    golden.ignore("input_ids", "attention_mask");
  }

  async trajectory(): Promise<void> {
    const { sft_method } = this.golden.json.config;
    using method = sft_method === "cot" ? await this.buildCot() : await this.buildColar();
    await this.train(
      method,
      (g, rows, step, i) =>
        method instanceof Colar
          ? method.supervisedLoss(g, rows, this.draws(`step${i}.`, step.r, step.r, rows))
          : method.loss(g, rows),
    );
  }
}
