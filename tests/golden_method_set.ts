/** A set of golden method cases: its model, its rows, and the methods built as a case's config says. */
import assert from "node:assert/strict";
import type { QsaRow } from "../data/qsa.ts";
import { Graph } from "../autograd/tape.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { type Profile, SWITCHES } from "../io/config_profile.ts";
import { loadModel } from "../io/load_model.ts";
import type { LoadedTensor } from "../io/safetensors.ts";
import type { Tokenizer } from "../io/tokenizer.ts";
import { Colar } from "../models/colar.ts";
import { type AnswerDraws, latentGenerate } from "../models/latent_generate.ts";
import type { ColarOptions } from "../models/colar_options.ts";
import type { BatchDraws } from "../models/colar_draws.ts";
import { Cot, type CotOptions } from "../models/cot.ts";
import type { Losses, Method, ThinkingSpeed } from "../models/method.ts";
import { addPadRow } from "../models/vocabulary.ts";
import { AdamW } from "../training/adamw.ts";
import type { GoldenCase, Tolerance } from "./golden_case.ts";

/** The suggested tolerances of the sets' README: relative norms, and for losses |a - b| <= 1e-5 |b|. */
export const HIDDEN: Tolerance = { abs: Infinity, rel: 1e-4 };
/** Latents of a rollout. */
export const LATENTS: Tolerance = { abs: Infinity, rel: 3e-4 };
/** Log-probabilities. */
export const LOG_PROBS: Tolerance = { abs: 1e-4, rel: Infinity };
/** Losses, relative. */
export const LOSS = 1e-5;
/** Gradients, of their norm. */
export const GRADIENT = 1e-4;
/** Parameters after training steps, of the distance moved. */
export const MOVED = 1e-3;

/** The profile whose switches a case was recorded with: corrected variants say so in their name. */
export function profileOf({ json }: GoldenCase): Profile {
  return json.case.startsWith("corrected") ? "corrected" : "released";
}

/** One case with all that its set provides. */
export class MethodSet {
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

  get isCorrected(): boolean {
    return profileOf(this.golden) === "corrected";
  }

  /** What the case's profile sets a switch to, so that golden numbers hold every preset in its place. */
  preset<K extends keyof typeof SWITCHES>(name: K): (typeof SWITCHES)[K][Profile] {
    return SWITCHES[name][profileOf(this.golden)];
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
  respond(method: Colar, speed: ThinkingSpeed, greedy: boolean) {
    const questions = this.rows.map(({ question }, id) => ({ id, question }));
    const recorded = greedy ? undefined : this.recordedDraws();
    return latentGenerate(method, questions, { speed, greedy, seed: 0, recorded, trace: true });
  }

  /** The recorded draws of thinking and answers, for rows of the case's batch. */
  recordedDraws(): AnswerDraws {
    const { golden } = this;
    const [B, N, D] = golden.shape("eps");
    const [eps, stop, text] = ["eps", "stop_uniforms", "answer_uniforms"]
      .map((name) => golden.floats(name));
    const width = golden.shape("answer_uniforms")[1];
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
    const uniforms = Array.from(
      { length: B },
      (_, b) => text.subarray(b * width, (b + 1) * width),
    );
    return {
      thinking: {
        eps: (g, rows, n) => pick(g, eps, rows, n, D),
        stop: (g, rows, n) => pick(g, stop, rows, n, 1),
      },
      text: { uniforms },
    };
  }

  async buildCot(maxNewTokens = 256): Promise<Cot> {
    const options: CotOptions = {
      ...this.common(maxNewTokens),
    };
    const method = new Cot({ ...await this.context(), options });
    await this.write(method);
    return method;
  }

  async buildColar(): Promise<Colar> {
    const { meta, golden: { json: { config, case: name } } } = this;
    const cot = (key: string) => config[`latent_cot_config.${key}`];
    const options: ColarOptions = {
      ...this.common(config.max_new_tokens ?? meta.max_new_tokens, config),
      embeds_std: meta.embeds_std,
      latent_cot_config: {
        max_compression_factor: 5,
        replace_r_with_auto_prob: 0,
        pred_compressed_cot: config.compressed_labels ?? true,
        sqrt_mean: cot("sqrt_mean") ?? this.preset("sqrt_mean"), // _mean_pooling departs
        ce_weight: 1,
        embed_modeling_loss: config.embed_loss ?? cot("embed_modeling_loss") ?? "mse",
        embed_modeling_weight: 1,
        entropy_weight: cot("entropy_weight") ?? 0,
        pred_embed_forward_weight: config.second_weight ?? cot("pred_embed_forward_weight") ?? 0,
        layout: this.preset("layout"),
        mask_separator_label: config.first_separator === "masked" || // _separator_masked departs
          this.preset("mask_separator_label"),
        second_pass_scale: this.preset("second_pass_scale"),
        second_pass_index: this.preset("second_pass_index"),
        second_pass_labels: this.preset("second_pass_labels"),
      },
      latent_generation_config: {
        max_n_latent_forward: config.max_n_latent_forward ?? meta.max_n_latent_forward,
        n_latent_forward: null,
        compression_factor: config.compression_factor ?? 5,
        latent_temperature: config.latent_temperature ?? 1,
        eol_temperature: config.eol_temperature ?? 1,
      },
      latent_policy_config: {
        lp_intermediate_size: meta.lp_intermediate_size,
        lp_deterministic: config["latent_policy_config.lp_determinisitc"] ?? false,
      },
      do_rl: config.group_size !== undefined,
      rl_config: {
        use_latent_loss: config.use_latent_loss ?? true,
        use_answer_loss: config.use_answer_loss ?? true,
        continue_decisions: this.preset("continue_decisions"),
        // _latent_sum departs from its profile.
        latent_logprob: name.endsWith("_latent_sum") ? "sum" : this.preset("latent_logprob"),
        random_speed_in_group: false,
      },
    };
    const method = new Colar({ ...await this.context(), options }, meta.embeds_std);
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
        top_k: this.preset("top_k"),
        pad_in_answer: this.preset("pad_in_answer"),
      },
    };
  }

  async context() {
    const { gpu, set, tokenizer, initial } = this;
    const backbone = await loadModel(gpu, `${set}/model`);
    const floats = (name: string) => initial.get(name)?.data as Float32Array | undefined;
    const given = { row: floats("pad_row")!, headRow: floats("pad_head_row") };
    await addPadRow(backbone, tokenizer, 0, given);
    return { gpu, backbone, tokenizer, seed: 0, reasoningLength: this.preset("reasoning_length") };
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

  /**
   * Repeats a recorded run: each step's losses, then how far the parameters moved.
   * @param loss the losses of a step's rows
   */
  async train(
    method: Method,
    // deno-lint-ignore no-explicit-any -- a recorded step: rows, losses, r or stage
    loss: (g: Graph, rows: readonly QsaRow[], step: any, index: number) => Losses,
  ): Promise<void> {
    const { gpu, golden } = this;
    const { lr, weight_decay: weightDecay } = golden.json.config;
    using optimizer = new AdamW(gpu, method.parameters, { lr, weightDecay });
    const before = await this.values(method);
    for (const [i, step] of golden.json.steps.entries()) {
      using scope = gpu.scope();
      const g = new Graph(gpu, scope);
      const losses = loss(g, step.rows.map((row: number) => this.rows[row]), step, i);
      await this.compareLosses(losses, step.losses);
      for (const { tensor } of method.parameters) gpu.clear(tensor.gradient!);
      g.backward([losses.total]);
      optimizer.step();
    }
    await this.compareMoved(method, before);
  }

  /** How far the parameters are from the recorded ones, in terms of the distance moved. */
  async compareMoved(method: Method, before: ReadonlyMap<string, Float32Array>): Promise<void> {
    const { golden } = this;
    const after = await this.values(method);
    let [distance, moved] = [0, 0];
    for (const name of golden.names("param.")) {
      const expected = golden.floats(name);
      const key = name.slice("param.".length);
      const [actual, start] = [after.get(key)!, before.get(key)!];
      golden.compared += expected.length;
      for (let i = 0; i < expected.length; i++) {
        distance += (actual[i] - expected[i]) ** 2;
        moved += (expected[i] - start[i]) ** 2;
      }
    }
    const off = Math.sqrt(distance / moved);
    assert.ok(off <= MOVED, `parameters: off by ${off} of the distance moved, allowed ${MOVED}`);
    assert.equal(golden.names("param.").length, method.parameters.length);
  }

  /** Losses, then the gradient of every parameter. */
  async gradients(
    g: Graph,
    method: Method,
    losses: Losses,
    allowed?: (wanted: number) => number,
  ): Promise<void> {
    const { gpu, golden } = this;
    await this.compareLosses(losses, golden.json.losses, allowed);
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
    allowed = (wanted: number) => LOSS * Math.abs(wanted),
  ): Promise<void> {
    for (const [name, value] of Object.entries(expected)) {
      const tensor = name === "total_loss" ? total : parts[name];
      if (!tensor && value === 0) continue; // the published code logs 0 for a pass that it does not make
      assert.ok(tensor, `no loss '${name}'`);
      const [actual] = await this.gpu.read(tensor);
      const wanted = Number(value);
      const off = Math.abs(actual - wanted);
      assert.ok(off <= allowed(wanted), `${name} is ${actual}, recorded ${wanted}`);
      this.golden.compared++;
    }
  }
}

/** Labels in order, those that are not supervised left out. */
export function supervised(labels: ArrayLike<number>): number[] {
  return Array.from(labels).filter((label) => label >= 0);
}

/** Rows of ids laid out with pads behind. */
export function padded(rows: readonly (readonly number[])[], padId: number): number[] {
  const width = Math.max(...rows.map(({ length }) => length));
  return rows.flatMap((ids) => Array.from({ length: width }, (_, i) => ids[i] ?? padId));
}
