/** iCoT and Coconut on tiny untrained models. */
import type { Gpu } from "../../gpu/device.ts";
import { Coconut, type CoconutOptions } from "../../models/coconut.ts";
import { Icot, type IcotOptions } from "../../models/icot.ts";
import type { StagedOptions } from "../../models/stages.ts";
import { type Architecture, AS_TRAINED, context, modelOptions } from "./tiny_method.ts";

/** Stages of one epoch each, the rest as `profile: corrected`. */
export const CORRECTED: StagedOptions = {
  stage_rule: "intended",
  n_epochs_per_stage: 1,
  n_initial_epochs: 2,
  max_n_stage: 3,
  stage_ends: null,
  label_pads: false,
  supervise_transition: true,
  final_newline: false,
  position_ids: "mask",
};

/** What `profile: released` does where the loss is concerned. */
export const RELEASED = {
  label_pads: true,
  supervise_transition: false,
  final_newline: true,
  position_ids: "as-released",
} as const;

/** Keys to change: those of stages and layout, and of the model. */
export type StagedChanges = Partial<
  & IcotOptions["icot_config"]
  & CoconutOptions["latent_generation_config"]
  & Pick<IcotOptions, "do_lora">
>;

/** iCoT on a tiny model. */
export async function tinyIcot(
  gpu: Gpu,
  changes: StagedChanges = {},
  architecture: Architecture = "llama",
): Promise<Icot> {
  const options: IcotOptions = {
    ...modelOptions({ do_lora: changes.do_lora }),
    icot_config: { ...CORRECTED, icot_prompt: "training", ...changes },
  };
  return new Icot({ ...await context(gpu, architecture), options, reasoningLength: "exact" });
}

/** Coconut on a tiny model. */
export async function tinyCoconut(
  gpu: Gpu,
  changes: StagedChanges = {},
  architecture: Architecture = "llama",
  model: Record<string, unknown> = {},
): Promise<Coconut> {
  const options: CoconutOptions = {
    ...modelOptions({ do_lora: changes.do_lora }),
    coconut_config: { ...CORRECTED, n_latents_per_step: 2, ...changes },
    latent_generation_config: { ...AS_TRAINED, cache_in_latent_loop: true, ...changes },
  };
  const built = await context(gpu, architecture, model);
  return new Coconut({ ...built, options, reasoningLength: "exact" });
}
