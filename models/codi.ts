/**
 * CODI: chain of thought compressed into continuous space by self-distillation.
 *
 *   teacher  [question ###] [steps but the last ###] [Answer:a eos]
 *   student  [question ###] z_1 .. z_n [###] [Answer:a eos],  z = LayerNorm(W2 gelu(W0 h + b0) + b2)
 *   loss     ref_loss_factor * -log p(steps, answer | question) + -log p(answer | question, z, ###)
 *            + distill_loss_factor * mean over layers l of smooth_l1(student_l, teacher_l) / std(teacher_l)
 *            at the token before the answer's number, teacher detached
 *   answer   question ### -> latents -> ### -> text to eos; #L is the number of latents: n (six by default), another
 *            number, or until the next token is ### (`n_latent_forward`)
 *
 * The passes are in teacher_student.ts, the distance in distillation.ts, the method around them in self_distillation.ts.
 *
 * Source: Shen et al., CODI: Compressing Chain-of-Thought into Continuous Space via Self-Distillation, arXiv 2502.21074,
 * and its code (zhenyi4/codi: src/model.py, train.py, scripts/train_llama1b_gsm8k-aug.sh), read at 4fd88d4; keys have
 * its names. Distill (distill.ts) is what the CoLaR paper compares with; the audit's row A10 lists the differences.
 *
 * **Deviations.** The texts are CoLaR's, so that a CoT can be its start and answers are scored alike: `###` stands for the
 * two new tokens around the latents (published: frozen random rows), `Answer:` for `The answer is:`, and the teacher's
 * steps stand between two `###`, where published they follow the question at once. As there the `###` behind the latents
 * is given, not predicted, so that training does not teach when to stop. The token before the answer is the second of
 * `Answer:...`, the `:`, where published it is the space behind it on Llama; rows whose answer is negative or no number
 * stay, there they are dropped, and so are rows of more than 200 tokens (Llama). The adapter's dropout, 0.1 as fixed in
 * the published code, is drawn by our own generator. One warm-up count, where published it is 3 % of the run. The learning
 * rate is the paper's 8e-4; a later version of the published script says 8e-5. Positions count real tokens, and the pads
 * left of a question are not seen: published they are, unless fix_attn_mask is set. Answers have at most 16 tokens
 * (`max_new_tokens`), published 256. What is `corrected` is CoLaR's: `###` is tokenised alone (`separator_tokens`),
 * answers are without top-k, where they are drawn, and [PAD] (`top_k`, `pad_in_answer`).
 */
import type { AnswerGeneration } from "./answering.ts";
import type { ChainGeneration } from "./chain_generate.ts";
import type { CreateMethod, MethodContext } from "./method.ts";
import { SelfDistillation, type SelfDistillationSettings } from "./self_distillation.ts";
import type { TrainingOptions } from "./trained.ts";

/** What CODI is built from: `model.model_kwargs` of the configuration. */
export interface CodiOptions extends TrainingOptions {
  readonly answer_generation_config: AnswerGeneration;
  readonly codi_config: {
    /** Latents in training. */
    readonly num_latent: number;
    readonly use_prj: boolean;
    /** Width of the projector's hidden layer; null: the model's hidden size. */
    readonly prj_dim: number | null;
    readonly prj_no_ln: boolean;
    readonly include_last_cot: boolean;
    readonly distill_loss_div_std: boolean;
    readonly distill_loss_factor: number;
    readonly ref_loss_factor: number;
  };
  readonly latent_generation_config: ChainGeneration;
}

const LAYOUT = { label_pads: false, position_ids: "mask" } as const;

/** The method; see the head of this file. */
export class Codi extends SelfDistillation {
  /** @throws {RangeError} for keys of the projector without it. */
  constructor(context: MethodContext<CodiOptions>) {
    super(context, settingsOf(context));
  }
}

function settingsOf({ backbone, options }: MethodContext<CodiOptions>): SelfDistillationSettings {
  const config = options.codi_config;
  checkProjector(config);
  const intermediateSize = config.prj_dim ?? backbone.hiddenSize;
  return {
    numLatents: config.num_latent,
    projector: config.use_prj ? { intermediateSize, layerNorm: !config.prj_no_ln } : undefined,
    includeLastStep: config.include_last_cot,
    teacherLayout: { ...LAYOUT, supervise_transition: true },
    studentLayout: { ...LAYOUT, supervise_transition: false },
    compared: { withEmbeddings: true, divideByStd: config.distill_loss_div_std },
    weights: { teacher: config.ref_loss_factor, student: 1, distill: config.distill_loss_factor },
    thinking: options.latent_generation_config,
    cacheInLatentLoop: true,
    generation: options.answer_generation_config,
  };
}

function checkProjector({ use_prj, prj_dim, prj_no_ln }: CodiOptions["codi_config"]): void {
  if (use_prj || prj_dim === null && !prj_no_ln) return;
  const given = prj_dim === null ? "prj_no_ln is True" : `prj_dim is ${prj_dim}`;
  throw new RangeError(
    `${given}, but use_prj is False: it is a key of the projector; set use_prj=True or ` +
      (prj_dim === null ? "prj_no_ln=False" : "prj_dim=null"),
  );
}

const create: CreateMethod<CodiOptions> = (context) => Promise.resolve(new Codi(context));
export default create;
