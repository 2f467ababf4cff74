/** Distill and CODI on tiny untrained models. */
import type { Gpu } from "../../gpu/device.ts";
import { Codi, type CodiOptions } from "../../models/codi.ts";
import { Distill, type DistillOptions } from "../../models/distill.ts";
import { type Architecture, AS_TRAINED, context, modelOptions } from "./tiny_method.ts";

/** What `profile: released` does where Distill's loss is concerned. */
export const RELEASED = {
  label_pads: true,
  supervise_transition: false,
  position_ids: "as-released",
} as const;

/** Three rows: the first has one step and the second none; the last answer is the longest. */
export const ROWS = [
  { question: "How many?", steps: ["<<2*3=6>>"], answer: "6" },
  { question: "a", steps: [], answer: "-5" },
  { question: "Tom has 7.", steps: ["<<7+1=8>>", "<<8-2=6>>"], answer: "6,000.25" },
];

/** Distill on a tiny model. */
export async function tinyDistill(
  gpu: Gpu,
  changes: Partial<
    & DistillOptions["distill_config"]
    & DistillOptions["latent_generation_config"]
    & Pick<DistillOptions, "do_lora">
  > = {},
  architecture: Architecture = "llama",
  model: Record<string, unknown> = {},
): Promise<Distill> {
  const options: DistillOptions = {
    ...modelOptions({ do_lora: changes.do_lora }),
    distill_config: {
      n_latents: 3,
      distill_proj: true,
      proj_layer_norm: false,
      distill_loss_div_std: false,
      include_last_cot: true,
      alpha: 1,
      beta: 1,
      gamma: 20,
      label_pads: false,
      supervise_transition: true,
      position_ids: "mask",
      ...changes,
    },
    latent_generation_config: { ...AS_TRAINED, cache_in_latent_loop: true, ...changes },
  };
  const built = await context(gpu, architecture, model);
  return new Distill({ ...built, options, reasoningLength: "exact" });
}

/** CODI on a tiny model, every linear module adapted. */
export async function tinyCodi(
  gpu: Gpu,
  changes: Partial<CodiOptions["codi_config"] & CodiOptions["latent_generation_config"]> = {},
  architecture: Architecture = "llama",
  model: Record<string, unknown> = {},
): Promise<Codi> {
  const options: CodiOptions = {
    ...modelOptions({}),
    lora_config: { r: 4, lora_alpha: 8, target_modules: "all-linear" },
    codi_config: {
      num_latent: 3,
      use_prj: true,
      prj_dim: null,
      prj_no_ln: false,
      include_last_cot: false,
      distill_loss_div_std: true,
      distill_loss_factor: 20,
      ref_loss_factor: 1,
      ...changes,
    },
    latent_generation_config: { ...AS_TRAINED, ...changes },
  };
  const built = await context(gpu, architecture, model);
  return new Codi({ ...built, options, reasoningLength: "exact" });
}
