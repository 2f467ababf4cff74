/** Combinations of keys that could not train: each is one line that says why and what to set. */
import assert from "node:assert/strict";
import { resolveConfig } from "../../io/config.ts";
import { checkCombinations, checkThinking } from "../../io/config_rules.ts";
import { configureRun } from "../../training/configure.ts";
import { message, resolve } from "./config_cases.ts";

const train = async (...overrides: string[]) =>
  checkCombinations((await resolve("colar", ...overrides)).config);

const mistakes: [string[], string][] = [
  [
    ["lora_dropout=0.1"],
    "lora_dropout must be 0 with do_rl, got 0.1: samples are drawn without dropout, and their " +
    "probabilities in training must be those that they were drawn with",
  ],
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

/** The paper's ablations and what goes with them; each is on or off. */
const ABLATIONS = {
  DL: "lp_deterministic=True",
  NLL: "embed_modeling_loss=nll",
  second: "pred_embed_forward_weight=1",
  OC: "pred_compressed_cot=False",
  MP: "sqrt_mean=False",
  RL: "do_rl=True",
  sums: "average_per_token_loss=False", // w/o average
  speeds: "random_speed_in_group=True",
};

Deno.test("config colar: each combination of ablations is allowed, or refused with its reason", async () => {
  const names = Object.keys(ABLATIONS) as (keyof typeof ABLATIONS)[];
  const refused: Record<string, number> = {};
  for (let bits = 0; bits < 2 ** names.length; bits++) {
    const on = names.filter((_, i) => bits >> i & 1);
    const told = await message(() => train(...on.map((name) => ABLATIONS[name])));
    const has = (name: typeof names[number]) => on.includes(name);
    const expected = has("RL")
      ? has("DL") ? "lp_deterministic must be False with do_rl" : "no error"
      : has("DL") && has("NLL")
      ? "embed_modeling_loss must be mse with lp_deterministic"
      : "no error";
    assert.equal(told.split(":")[0], expected, on.join(" "));
    refused[expected] = (refused[expected] ?? 0) + 1;
  }
  assert.deepEqual(Object.values(refused).sort((a, b) => a - b), [32, 64, 160]);
});

Deno.test("config colar: what a deterministic head cannot train is refused", async () => {
  const deterministic = "lp_deterministic=True";
  assert.equal(
    await message(() => train(deterministic, "embed_modeling_loss=nll")),
    "embed_modeling_loss must be mse with lp_deterministic: the density of a Gaussian of deviation " +
      "1e-9 is a loss of about 1e18",
  );
  assert.equal(
    await message(() => train(deterministic, "entropy_weight=-0.1")),
    "entropy_weight must be 0 with lp_deterministic, got -0.1: a fixed deviation has a fixed entropy",
  );
});

Deno.test("rules: stages by epoch are refused where stage_ends says when they change", async () => {
  const given: [string, string][] = [
    ["stage_rule", "official"],
    ["stage_rule", "as-released"],
    ["n_epochs_per_stage", "3"],
    ["n_initial_epochs", "2"],
  ];
  for (const model of ["coconut", "icot"]) {
    const run = (...overrides: string[]) => configureRun({ model, workspace: ".", overrides });
    for (const [key, value] of given) {
      assert.equal(
        await message(() => run(`${key}=${value}`)),
        `${key} is not read with stage_ends=[0.2,0.4]; add stage_ends=null, or leave ${key} out`,
      );
      await run(`${key}=${value}`, "stage_ends=null");
      await run("stage_ends=null", `${key}=${value}`);
    }
    for (const rest of [["profile=released"], ["stage_rule=profile"], ["max_n_stage=3"]]) {
      await run(...rest);
    }
    // A file of one's own may say it too.
    const { config } = await resolveConfig({ model, overrides: ["stage_rule=official"] });
    assert.throws(() => checkCombinations(config), {
      name: "RangeError",
      message:
        "stage_rule=official is not read with stage_ends=[0.2,0.4]; add stage_ends=null, or " +
        "stage_rule=profile",
    });
    checkCombinations((await resolve(model, "stage_rule=official", "n_epochs_per_stage=3")).config);
  }
});

Deno.test("rules: latents that see only themselves cannot decide when to stop", async () => {
  const blind = "cache_in_latent_loop=False";
  for (const model of ["coconut", "distill"]) {
    const { config } = await resolve(model, blind, "n_latent_forward=null");
    for (const check of [checkThinking, checkCombinations]) {
      assert.throws(() => check(config), {
        name: "RangeError",
        message:
          "n_latent_forward must be trained or an integer from 1 with cache_in_latent_loop=False, " +
          "got null: where latents see only themselves, ### would be predicted from a latent without " +
          "its prompt; set cache_in_latent_loop=True",
      });
    }
    checkThinking((await resolve(model, blind, "n_latent_forward=3")).config);
    checkThinking((await resolve(model, "profile=released")).config);
    checkThinking((await resolve(model, "n_latent_forward=null")).config);
  }
  checkThinking((await resolve("codi", "n_latent_forward=null", "profile=released")).config);
  checkThinking((await resolve("colar")).config);
});

Deno.test("rules: methods that chain latents cannot compute a block again", async () => {
  for (const model of ["coconut", "distill", "codi"]) {
    const { config } = await resolve(model, "activation_checkpointing=True");
    assert.throws(() => checkCombinations(config), {
      name: "RangeError",
      message: new RegExp(
        `^activation_checkpointing must be False with models/${model}.ts, got True: .*; use a smaller`,
      ),
    });
  }
  checkCombinations((await resolve("icot", "activation_checkpointing=True")).config);
});
