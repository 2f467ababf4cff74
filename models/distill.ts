/**
 * Distill, CoLaR's baseline after CODI: one model learns to answer behind its written steps (the teacher) and behind n
 * latents (the student; six by default), whose hidden states at the `:` of `Answer:` are pulled to the teacher's.
 *
 *   teacher  [question (Thinking speed: auto) ###] [steps ###] [Answer:a eos]
 *   student  [question (Thinking speed: auto) ###] z_1 .. z_n [###] [Answer:a eos],  z = W2 gelu(W0 h + b0) + b2
 *   loss     alpha * -log p(steps, answer | question) + beta * -log p(answer | question, z); `corrected`: of ### too
 *            + gamma * mean over layers of smooth_l1(student, teacher), teacher detached
 *   answer   question (Thinking speed: auto) ### -> latents -> ### -> text to eos; #L is the number of latents: n, another
 *            number, or until the next token is ### (`n_latent_forward`)
 *
 * The passes are in teacher_student.ts, the distance in distillation.ts, the method around them in self_distillation.ts.
 *
 * Source: the published CoLaR code (models/distill.py; modules/projector.py: MLPProjector), arXiv 2505.16552, after
 * Shen et al., CODI, arXiv 2502.21074, which is codi.ts.
 *
 * **Deviations.** Published it cannot run: the configuration names a class that does not exist (A9). The projector is on
 * as it is there, whatever `distill_proj` says there; here False leaves it out. What sets Distill apart from CODI (A10)
 * is a key each: `distill_proj`, `proj_layer_norm`, `distill_loss_div_std`, `include_last_cot`, besides target_modules
 * and lr. `corrected`: pads carry no labels (`label_pads`, A5), the first token behind question and latents carries one,
 * which is the student's `###` (`supervise_transition`, A6), positions count real tokens (`position_ids`, A8), `###` is
 * tokenised alone (`separator_tokens`), latents see the prompt when answering (`cache_in_latent_loop`, A1), answers are
 * without top-k and [PAD] (`top_k`, `pad_in_answer`). In both profiles the student's cache is its own, not the one that
 * the teacher extended (A11), rows are packed without the pads that nothing uses, and draws are keyed by question and
 * position. Which of alpha and beta weighs which loss is from the paper; both are 1.
 */
import type { AnswerGeneration } from "./answering.ts";
import type { ChainGeneration } from "./chain_generate.ts";
import type { CreateMethod, MethodContext } from "./method.ts";
import type { LayoutOptions } from "./segments.ts";
import { SelfDistillation, type SelfDistillationSettings } from "./self_distillation.ts";
import type { TrainingOptions } from "./trained.ts";

/** What Distill is built from: `model.model_kwargs` of the configuration. */
export interface DistillOptions extends TrainingOptions {
  readonly answer_generation_config: AnswerGeneration;
  readonly distill_config: LayoutOptions & {
    /** Latents in training. */
    readonly n_latents: number;
    readonly distill_proj: boolean;
    readonly proj_layer_norm: boolean;
    readonly distill_loss_div_std: boolean;
    readonly include_last_cot: boolean;
    /** Weights of teacher, student and distillation. */
    readonly alpha: number;
    readonly beta: number;
    readonly gamma: number;
  };
  readonly latent_generation_config: ChainGeneration & { readonly cache_in_latent_loop: boolean };
}

/** The method; see the head of this file. */
export class Distill extends SelfDistillation {
  /** @throws {RangeError} for a layer norm without the projector that it belongs to, or weights that are all 0. */
  constructor(context: MethodContext<DistillOptions>) {
    super(context, settingsOf(context));
  }
}

function settingsOf(
  { backbone, options }: MethodContext<DistillOptions>,
): SelfDistillationSettings {
  const config = options.distill_config;
  const { distill_proj: isProjected, proj_layer_norm: layerNorm } = config;
  if (layerNorm && !isProjected) {
    throw new RangeError(
      "proj_layer_norm is True, but distill_proj is False: the norm is the projector's last layer; " +
        "set distill_proj=True or proj_layer_norm=False",
    );
  }
  if ([config.alpha, config.beta, config.gamma].every((weight) => weight === 0)) {
    throw new RangeError(
      "alpha, beta and gamma are all 0: there is nothing to train; set one of them",
    );
  }
  return {
    numLatents: config.n_latents,
    projector: isProjected ? { intermediateSize: backbone.hiddenSize, layerNorm } : undefined,
    includeLastStep: config.include_last_cot,
    teacherLayout: config,
    studentLayout: config,
    compared: { withEmbeddings: false, divideByStd: config.distill_loss_div_std },
    weights: { teacher: config.alpha, student: config.beta, distill: config.gamma },
    thinking: options.latent_generation_config,
    cacheInLatentLoop: options.latent_generation_config.cache_in_latent_loop,
    generation: options.answer_generation_config,
  };
}

const create: CreateMethod<DistillOptions> = (context) => Promise.resolve(new Distill(context));
export default create;
