/**
 * Golden cases of the methods: what the published code computes on a tiny random model, and what the corrected
 * variants must compute. A set is a folder with model/, initial.safetensors, rows.json, meta.json and cases/.
 */
import assert from "node:assert/strict";
import { Graph } from "../autograd/tape.ts";
import { parseQsa, type QsaRow } from "../data/qsa.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { loadModel } from "../io/load_model.ts";
import { type LoadedTensor, loadSafetensors } from "../io/safetensors.ts";
import { loadTokenizer, type Tokenizer } from "../io/tokenizer.ts";
import { type BatchDraws, Colar, type ColarOptions, type Supervised } from "../models/colar.ts";
import { Cot, type CotOptions } from "../models/cot.ts";
import { predictions } from "../models/language_loss.ts";
import type { Losses, Method, ThinkingSpeed } from "../models/method.ts";
import { addPadRow } from "../models/vocabulary.ts";
import { logits } from "../ops/cross_entropy.ts";
import { gather } from "../ops/gather.ts";
import { AdamW } from "../training/adamw.ts";
import type { GoldenCase, Tolerance } from "./golden_case.ts";

/** The suggested tolerances of the sets' README: relative norms, and for losses |a - b| <= 1e-5 |b|. */
const HIDDEN: Tolerance = { abs: Infinity, rel: 1e-4 };
const LATENTS: Tolerance = { abs: Infinity, rel: 3e-4 };
const LOG_PROBS: Tolerance = { abs: 1e-4, rel: Infinity };
const LOSS = 1e-5;
const GRADIENT = 1e-4;
const MOVED = 1e-3;

/** How cases of one kind are checked; kinds are told by their name. */
type Check = (check: MethodCheck) => Promise<void>;

const CHECKS: readonly (readonly [RegExp, Check])[] = [
  [/^cot$/, (check) => check.cot()],
  [/^(corrected_)?colar_r\d/, (check) => check.colar()],
  [/^latent_generate_(greedy_c\d|sampled|temperatures)$/, (check) => check.think()],
  [/^latent_generate_rl_mode$/, (check) => check.rolledOut()],
  [/^text_generate_cot$/, (check) => check.textCot()],
  [/^trajectory_(cot|colar)$/, (check) => check.trajectory()],
];

/** Kinds of methods that come later, and tables that tests/data and tests/io check. */
const ELSEWHERE: readonly (readonly [RegExp, string])[] = [
  [/^(corrected_)?(icot|coconut)_stage\d$|^stages$/, "not implemented yet"],
  [/^(corrected_)?distill$/, "not implemented yet"],
  [/^(corrected_)?fixed_length_(coconut|distill)$/, "not implemented yet"],
  [/^(corrected_)?text_generate_icot$/, "not implemented yet"],
  [/^(corrected_)?grpo_/, "not implemented yet"],
  [/^trajectory_coconut$/, "not implemented yet"],
  [/^(answers|reasoning_length|evaluation|tokenizer)$/, "a table, checked in tests/data"],
  [/^config_overrides$/, "a table, checked in tests/io"],
];

/** Why a case is not run here, or undefined for one that is. */
export function notRun(name: string): string | undefined {
  return ELSEWHERE.find(([pattern]) => pattern.test(name))?.[1];
}

/** Compares everything in one case of a set. */
export async function checkMethod(gpu: Gpu, set: string, golden: GoldenCase): Promise<void> {
  const name: string = golden.json.case;
  const check = CHECKS.find(([pattern]) => pattern.test(name))?.[1];
  if (!check) throw new TypeError(`${set}: case ${JSON.stringify(name)} is of no known kind`);
  const meta = JSON.parse(await Deno.readTextFile(`${set}/meta.json`));
  const rows = parseQsa(JSON.parse(await Deno.readTextFile(`${set}/rows.json`)), "rows.json");
  const tokenizer = await loadTokenizer(`${set}/model`);
  const initial = await loadSafetensors(`${set}/initial.safetensors`);
  await check(new MethodCheck(gpu, set, golden, meta, rows, tokenizer, initial));
}

class MethodCheck {
  constructor(
    readonly gpu: Gpu,
    readonly set: string,
    readonly golden: GoldenCase,
    // deno-lint-ignore no-explicit-any -- a set describes itself; its keys are checked where they are used
    readonly meta: Record<string, any>,
    readonly rows: readonly QsaRow[],
    readonly tokenizer: Tokenizer,
    readonly initial: ReadonlyMap<string, LoadedTensor>,
  ) {}

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
    const corrected = golden.json.case.startsWith("corrected");
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
    if (found.batch.second && golden.has("second.inputs_embeds")) {
      this.compareTokens(found.batch.second, "second.", read.second, D);
    }
    if (corrected && golden.has("group_ids")) this.compareGroups(found, r);
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
    const positions = golden.ints(`${prefix}position_ids`);
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
    const [B, N, D] = golden.shape("latent_inputs_embeds");
    const responses = await this.respond(method, config.compression_factor, greedy, [B, N, D]);
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
        std.set(latent.logStd.map(Math.exp), i * D);
      })
    );
    golden.same(live, "latent_attention_mask");
    golden.close(embeds, "latent_inputs_embeds", LATENTS, live);
    golden.close(mean, "latent_mean", LATENTS, live);
    golden.close(std, "latent_std", LATENTS, live);
    golden.close(log, "separator_logprob", LOG_PROBS, live);
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
    const responses = await this.respond(method, golden.json.config.compression_factor, true, [
      B,
      N,
      D,
    ]);
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
    const { gpu, golden } = this;
    const { sft_method, lr, weight_decay } = golden.json.config;
    using method = sft_method === "cot" ? await this.buildCot() : await this.buildColar();
    using optimizer = new AdamW(gpu, method.parameters, { lr, weightDecay: weight_decay });
    const before = await this.values(method);
    for (const [i, step] of golden.json.steps.entries()) {
      using scope = gpu.scope();
      const g = new Graph(gpu, scope);
      const rows = step.rows.map((row: number) => this.rows[row]);
      const losses: Losses = method instanceof Colar
        ? method.supervisedLoss(g, rows, this.draws(`step${i}.`, step.r, step.r, rows))
        : method.loss(g, rows);
      await this.compareLosses(losses, step.losses);
      for (const { tensor } of method.parameters) gpu.clear(tensor.gradient!);
      g.backward([losses.total]);
      optimizer.step();
    }
    const after = await this.values(method);
    let [distance, moved] = [0, 0];
    for (const name of golden.names("param.")) {
      const expected = golden.floats(name);
      const key = name.slice("param.".length);
      const [actual, start] = [after.get(key)!, before.get(key)!];
      golden.compared += expected.length;
      const own = [0, 0];
      for (let i = 0; i < expected.length; i++) {
        own[0] += (actual[i] - expected[i]) ** 2;
        own[1] += (expected[i] - start[i]) ** 2;
      }
      distance += own[0];
      moved += own[1];
    }
    const off = Math.sqrt(distance / moved);
    assert.ok(off <= MOVED, `parameters: off by ${off} of the distance moved, allowed ${MOVED}`);
    assert.equal(golden.names("param.").length, method.parameters.length);
  }

  /** Losses, then the gradient of every parameter. */
  async gradients(g: Graph, method: Method, losses: Losses): Promise<void> {
    const { gpu, golden } = this;
    await this.compareLosses(losses, golden.json.losses);
    for (const { tensor } of method.parameters) gpu.clear(tensor.gradient!);
    g.backward([losses.total]);
    let [distance, norm] = [0, 0];
    const recorded = new Set(golden.names("grad."));
    for (const { name, tensor } of method.parameters) {
      const gradient = await gpu.read(tensor.gradient!);
      if (!recorded.delete(`grad.${name}`)) {
        assert.ok(gradient.every((x) => x === 0), `${name} took no part in the loss`);
        continue;
      }
      const expected = golden.floats(`grad.${name}`);
      golden.close(gradient, `grad.${name}`, { abs: Infinity, rel: GRADIENT });
      gradient.forEach((x, i) => {
        distance += (x - expected[i]) ** 2;
        norm += expected[i] ** 2;
      });
    }
    assert.deepEqual([...recorded], [], "gradients of parameters that the method has not");
    const off = Math.sqrt(distance / norm);
    assert.ok(off <= GRADIENT, `gradients: off by ${off} of their norm, allowed ${GRADIENT}`);
  }

  async compareLosses(
    { total, parts }: Losses,
    expected: Record<string, number | string>,
  ): Promise<void> {
    for (const [name, value] of Object.entries(expected)) {
      const tensor = name === "total_loss" ? total : parts[name];
      if (!tensor && value === 0) continue; // the published code logs 0 for a pass that it does not make
      assert.ok(tensor, `no loss '${name}'`);
      const [actual] = await this.gpu.read(tensor);
      const wanted = Number(value);
      const off = Math.abs(actual - wanted);
      assert.ok(off <= LOSS * Math.abs(wanted), `${name} is ${actual}, recorded ${wanted}`);
      this.golden.compared++;
    }
  }

  /** The recorded draws of a batch: noise by column, label choices by the group's slots. */
  draws(prefix: string, r: number, speed: ThinkingSpeed, rows: readonly QsaRow[]): BatchDraws {
    const { golden } = this;
    const eps = golden.floats(`${prefix}eps`);
    const [B, S, D] = golden.shape(`${prefix}eps`);
    assert.equal(B, rows.length);
    const name = `${prefix}group_label_choice`;
    const choices = golden.has(name) ? golden.ints(name) : undefined;
    return {
      compression: r,
      speed,
      // The separator is alone in its group, in the last slot; other groups begin in the first.
      labelChoice: (row, column, size) => size === 1 || !choices ? 0 : choices[row * S + column],
      eps: (g, places) => {
        const out = new Float32Array(places.length * D);
        places.forEach(({ row, column }, i) => {
          const first = (row * S + column) * D;
          out.set(eps.subarray(first, first + D), i * D);
        });
        return g.scope.upload(out, [places.length, D]);
      },
    };
  }

  /** Answers all rows with the recorded draws. */
  respond(
    method: Colar,
    speed: ThinkingSpeed,
    greedy: boolean,
    [, N, D]: readonly number[],
  ) {
    const { golden } = this;
    const questions = this.rows.map(({ question }, id) => ({ id, question }));
    const [eps, stop, text] = greedy ? [] : ["eps", "stop_uniforms", "answer_uniforms"]
      .map((name) => golden.floats(name));
    const width = greedy ? 0 : golden.shape("answer_uniforms")[1];
    const pick = (
      g: Graph,
      from: Float32Array,
      rows: readonly number[],
      n: number,
      dim: number,
    ): Tensor => {
      const parts = rows.map((b) => [...from.subarray((b * N + n) * dim, (b * N + n + 1) * dim)]);
      const shape = dim === 1 ? [rows.length] : [rows.length, dim];
      return g.scope.upload(Float32Array.from(parts.flat()), shape);
    };
    const uniforms = text &&
      questions.map((_, b) => text.subarray(b * width, (b + 1) * width));
    return method.respond(questions, { speed, greedy, seed: 0 }, {
      thinking: {
        eps: (g, rows, n) => pick(g, eps, rows, n, D),
        stop: (g, rows, n) => pick(g, stop, rows, n, 1),
      },
      text: { uniforms },
    }, true);
  }

  async buildCot(maxNewTokens = 256): Promise<Cot> {
    const options: CotOptions = {
      ...this.common(maxNewTokens),
      empty_steps: "as-released",
    };
    const method = new Cot({ ...await this.context(), options, reasoningLength: "as-released" });
    await this.write(method);
    return method;
  }

  async buildColar(): Promise<Colar> {
    const { meta, golden: { json: { config, case: name } } } = this;
    const clean = name.startsWith("corrected");
    const cot = (key: string) => config[`latent_cot_config.${key}`];
    const options: ColarOptions = {
      ...this.common(config.max_new_tokens ?? meta.max_new_tokens, config),
      embeds_std: meta.embeds_std,
      latent_cot_config: {
        max_compression_factor: 5,
        replace_r_with_auto_prob: 0,
        pred_compressed_cot: config.compressed_labels ?? true,
        sqrt_mean: cot("sqrt_mean") ?? true,
        ce_weight: 1,
        embed_modeling_loss: config.embed_loss ?? cot("embed_modeling_loss") ?? "mse",
        embed_modeling_weight: 1,
        entropy_weight: cot("entropy_weight") ?? 0,
        pred_embed_forward_weight: config.second_weight ?? cot("pred_embed_forward_weight") ?? 0,
        layout: clean ? "clean" : "as-released",
        mask_separator_label: config.first_separator === "masked",
        second_pass_scale: clean ? "embeds_std" : "as-released",
        second_pass_index: clean ? "clean" : "as-released",
        second_pass_labels: clean ? "answer" : "steps_and_answer",
      },
      latent_generation_config: {
        max_n_latent_forward: config.max_n_latent_forward ?? meta.max_n_latent_forward,
        compression_factor: 5,
        latent_temperature: config.latent_temperature ?? 1,
        eol_temperature: config.eol_temperature ?? 1,
      },
      latent_policy_config: {
        lp_intermediate_size: meta.lp_intermediate_size,
        lp_deterministic: config["latent_policy_config.lp_determinisitc"] ?? false,
      },
    };
    const context = { ...await this.context(), options, reasoningLength: "exact" as const };
    const method = new Colar(context, meta.embeds_std);
    await this.write(method);
    return method;
  }

  // deno-lint-ignore no-explicit-any -- a case's config
  common(max_new_tokens: number, config: Record<string, any> = {}) {
    const { r, lora_alpha } = this.meta.lora;
    return {
      model_id: "golden",
      do_lora: true,
      lora_config: { r, lora_alpha, target_modules: null },
      freeze_embeddings: true,
      answer_generation_config: {
        max_new_tokens,
        do_sample: true,
        temperature: config.temperature ?? 1,
        top_p: config.top_p ?? 0.9,
        top_k: config.top_k ?? 50,
        pad_in_answer: true,
      },
    };
  }

  async context() {
    const { gpu, set, tokenizer, initial } = this;
    const backbone = await loadModel(gpu, `${set}/model`);
    const floats = (name: string) => initial.get(name)?.data as Float32Array | undefined;
    const given = { row: floats("pad_row")!, headRow: floats("pad_head_row") };
    await addPadRow(backbone, tokenizer, 0, given);
    return { gpu, backbone, tokenizer, seed: 0 };
  }

  /** Gives every parameter its recorded initial value. */
  write(method: Method): void {
    for (const { name, tensor } of method.parameters) {
      const recorded = this.initial.get(name);
      assert.ok(recorded, `initial.safetensors has no '${name}'`);
      assert.deepEqual(recorded.shape, tensor.shape, name);
      this.gpu.write(tensor, recorded.data);
    }
  }

  async values(method: Method): Promise<Map<string, Float32Array>> {
    const values = new Map<string, Float32Array>();
    for (const { name, tensor } of method.parameters) {
      values.set(name, await this.gpu.read(tensor));
    }
    return values;
  }
}

/** Labels in order, those that are not supervised left out. */
function supervised(labels: ArrayLike<number>): number[] {
  return Array.from(labels).filter((label) => label >= 0);
}

/** Rows of ids laid out with pads behind. */
function padded(rows: readonly (readonly number[])[], padId: number): number[] {
  const width = Math.max(...rows.map(({ length }) => length));
  return rows.flatMap((ids) => Array.from({ length: width }, (_, i) => ids[i] ?? padId));
}
