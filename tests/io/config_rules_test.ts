/** Combinations of keys that could not train: each is one line that says why and what to set. */
import assert from "node:assert/strict";
import { checkCombinations } from "../../io/config_rules.ts";
import { message, resolve } from "./config_cases.ts";

const train = async (...overrides: string[]) =>
  checkCombinations((await resolve("colar", ...overrides)).config);

const mistakes: [string[], string][] = [
  [
    ["lp_deterministic=True"],
    "lp_deterministic must be False with do_rl: all samples of a group would have the same latents",
  ],
  [["do_sample=False"], "do_sample must be True with do_rl: all samples of a group would be equal"],
  [
    ["latent_temperature=0"],
    "latent_temperature must be above 0 with do_rl, got 0: latents that are not drawn teach nothing; " +
    "raise it or set use_latent_loss=False",
  ],
  [
    ["use_latent_loss=False", "use_answer_loss=False", "continue_decisions=False"],
    "use_latent_loss, use_answer_loss and continue_decisions are all False: do_rl has no loss; " +
    "set one of them",
  ],
  [
    ["use_latent_loss=False", "use_answer_loss=False", "n_latent_forward=3"],
    "n_latent_forward must be null with continue_decisions alone, got 3: a fixed number leaves " +
    "nothing to decide",
  ],
  [
    ["accumulate_grad_batches=2"],
    "accumulate_grad_batches must be 1 with do_rl, got 2: its optimizer steps are the minibatches; " +
    "set exp_batch_size",
  ],
  [
    ["gradient_clip_val=1"],
    "gradient_clip_val must be null with do_rl, got 1: clip_grad_norm is its limit",
  ],
];

for (const [overrides, text] of mistakes) {
  Deno.test(`config colar do_rl=True ${overrides.join(" ")}: refused with the reason`, async () => {
    assert.equal(await message(() => train("do_rl=True", ...overrides)), text);
    await train(...overrides); // without reinforcement each is allowed
  });
}

Deno.test("config: reinforcement as it is, and with what is rare but possible", async () => {
  await train("do_rl=True");
  await train("do_rl=True", "latent_temperature=0", "use_latent_loss=False");
  await train("do_rl=True", "n_latent_forward=3");
  await train("do_rl=True", "profile=released", "random_speed_in_group=True");
});
