/** Configuration: what the files hold, profiles, what is printed, and every error. */
import assert from "node:assert/strict";
import { join } from "node:path";
import {
  type Config,
  configNames,
  dataArguments,
  printConfig,
  resolveConfig,
  restoreConfig,
} from "../../io/config.ts";
import { isSwitch, SWITCHES } from "../../io/config_profile.ts";
import { SCHEMAS } from "../../io/config_schema.ts";
import { keysOf } from "../../io/config_tree.ts";
import { ADVICE, changes, flat, message, resolve } from "./config_cases.ts";

const FOLDER = new URL("../../configs", import.meta.url).pathname;
const DATASETS = "arith, gsm8k, gsm8k_aug, gsm_hard, math, math_500, multiarith, svamp";
const MODELS = (await configNames("models")).join(", ");
const TARGETS = Object.keys(SCHEMAS).sort().join(" or ");

const mistakes: [string, string, string][] = [
  ...[["0", "0"], ["-1", "-1"], ["[2,0]", "[2,0]"], ["2,0", "'2,0'"], ["fast", "'fast'"]].map((
    [value, shown],
  ): [string, string, string] => [
    "colar",
    `compression_factor=${value}`,
    `compression_factor must be a number above 0, auto or several of these, as in 1.5,8, got ${shown}`,
  ]),
  [
    "colar",
    "group_size=1",
    "group_size must be an integer from 2, since an advantage is over the others of a group, got 1",
  ],
  [
    "colar",
    "max_compression_factor=1,0",
    "max_compression_factor must be an integer from 1 or several, as in 1,3,5, got '1,0'",
  ],
  ...[["'5,fast'", "'5,fast'"], ["auto,", "'auto,'"], ["'auto,0'", "'auto,0'"]].map((
    [value, shown],
  ): [string, string, string] => [
    "codi",
    `compression_factor=${value}`,
    `compression_factor must be a number above 0, auto or several of these, as in 1.5,8, got ${shown}`,
  ]),
  [
    "coconut",
    "n_latent_forward=0",
    "n_latent_forward must be trained, an integer from 1 or null, got 0",
  ],
  [
    "colar",
    "n_latent_forward=trained",
    "n_latent_forward must be an integer from 1 or null, got 'trained'",
  ],
  ...["coconut", "distill", "codi", "cot"].map((model): [string, string, string] => [
    model,
    "latent_temperature=0.5",
    "latent_temperature is CoLaR's alone, whose latents are drawn: those of Coconut, Distill and CODI " +
    "are hidden states, fed as they are, and cot and icot have none",
  ]),
  ["colar", "lr=fast", "lr must be a number above 0, got 'fast'"],
  ["colar", "lr=0", "lr must be a number above 0, got 0"],
  ["colar", "lr=.inf", "lr must be a number above 0, got Infinity"],
  ["colar", "lr=", "lr must be a number above 0, got null"],
  ["colar", "lora_dropout=1", "lora_dropout must be a number at least 0 and below 1, got 1"],
  ["colar", "top_p=1.5", "top_p must be a number above 0 and at most 1, got 1.5"],
  ["colar", "batch_size=2.5", "batch_size must be an integer from 1, got 2.5"],
  ["colar", "do_lora=yes", "do_lora must be True or False, got 'yes'"],
  ["colar", "embed_modeling_loss=MSE", "embed_modeling_loss must be mse or nll, got 'MSE'"],
  ["colar", "schedule=step", "schedule must be constant, linear or cosine, got 'step'"],
  ["colar", "profile=fixed", "profile must be released or corrected, got 'fixed'"],
  ["colar", "layout=tidy", "layout must be as-released or clean, got 'tidy'"],
  ["colar", "model_id=~", "model_id must be text, got null"],
  [
    "colar",
    "target_modules=q_proj",
    "target_modules must be a list of text, all-linear or null, got 'q_proj'",
  ],
  ["colar", "=1", "Argument '=1' must be key=value, as in batch_size=8"],
  ["colar", "__proto__=1", `Unknown config key '__proto__' (${ADVICE})`],
  ["colar", "Batch_size=1", "Unknown config key 'Batch_size' (did you mean 'batch_size'?)"],
  [
    "colar",
    "lora_config.r=1",
    "Unknown config key 'lora_config.r' (did you mean 'model.model_kwargs.lora_config.r'?)",
  ],
  [
    "colar",
    "use_scheduler=True",
    "Unknown config key 'use_scheduler' (set schedule=constant, linear or cosine)",
  ],
  ["cot", "layout=clean", `Unknown config key 'layout' (${ADVICE})`],
];
for (const [model, argument, text] of mistakes) {
  Deno.test(`config ${model} ${argument}: one line with the rule`, async () => {
    assert.equal(await message(() => resolve(model, argument)), text);
  });
}

Deno.test("config: a value that is no YAML is an error in one line", async () => {
  const text = await message(() => resolve("colar", "lr=[1,"));
  assert.match(text, /^The value of lr=\[1, is not YAML: .+/);
  assert.ok(!text.includes("\n"));
});

Deno.test("config: a saved configuration gets another data set's keys, and the defaults of the rest", async () => {
  const saved = await resolve("cot", "source=./mine", "tiny_dataset=True", "n_test=3", "r=4");
  const svamp = await dataArguments("svamp");
  const { config } = await restoreConfig(saved.config, [...svamp, "n_test=7"]);
  const { data_module: ours } = (await resolveConfig({ model: "cot", dataset: "svamp" })).config;
  assert.deepEqual(config.data_module, { ...ours, n_test: 7 });
  assert.deepEqual([ours.source, ours.test_split, ours.tiny_dataset], [
    "ChilleD/SVAMP",
    "all",
    false,
  ]);
  assert.equal(config.model.model_kwargs.lora_config.r, 4);
  const arith = await restoreConfig(saved.config, await dataArguments("arith"));
  assert.deepEqual([arith.config.data_module.dataset_name, arith.config.data_module.source], [
    "arith",
    null,
  ]);
  assert.equal(
    await message(() => dataArguments("arth")),
    `Unknown dataset 'arth'. configs/datasets/ has: ${DATASETS}`,
  );
});

Deno.test("config: unknown names are told what there is", async () => {
  const known = { dataset: "arith", model: "cot", trainer: "default" };
  const cases: [Partial<typeof known>, string][] = [
    [{ model: "colr" }, `Unknown model 'colr'. configs/models/ has: ${MODELS}`],
    [{ model: "../models/cot" }, `Unknown model '../models/cot'. configs/models/ has: ${MODELS}`],
    [{ dataset: "arth" }, `Unknown dataset 'arth'. configs/datasets/ has: ${DATASETS}`],
    [{ trainer: "fast" }, "Unknown trainer 'fast'. configs/trainer/ has: default"],
  ];
  for (const [name, text] of cases) {
    assert.equal(await message(() => resolveConfig({ ...known, ...name })), text);
  }
});

Deno.test("config: later arguments win, and each says what it set", async () => {
  const { config, set } = await resolve("colar", "lr=1e-3", "r=8", "lr=2e-3");
  assert.equal(config.model.training_kwargs.optimizer.lr, 2e-3);
  assert.equal(config.model.model_kwargs.lora_config.r, 8);
  assert.deepEqual(set.map(({ paths }) => paths), [
    ["model.training_kwargs.optimizer.lr"],
    ["model.model_kwargs.lora_config.r"],
    ["model.training_kwargs.optimizer.lr"],
  ]);
});

Deno.test("config: lists, null as None, and the published spelling of lp_deterministic", async () => {
  const { config, set } = await resolve(
    "colar",
    "target_modules=[q_proj, o_proj]",
    "max_steps=20",
    "max_steps=None",
    "lp_determinisitc=True",
    "model.model_kwargs.latent_policy_config.lp_determinisitc=TRUE",
    "compression_factor=2,5",
  );
  assert.ok(config.model.target === "models/colar.ts");
  assert.deepEqual(config.model.model_kwargs.lora_config.target_modules, ["q_proj", "o_proj"]);
  assert.equal(config.trainer.max_steps, null);
  assert.equal(config.model.model_kwargs.latent_policy_config.lp_deterministic, true);
  const path = "model.model_kwargs.latent_policy_config.lp_deterministic";
  assert.deepEqual([set[3].paths, set[4].paths], [[path], [path]]);
  const { compression_factor } = config.model.model_kwargs.latent_generation_config;
  assert.equal(compression_factor, "2,5");
});

Deno.test("config: thinking speeds may be unseen in training, broken, several or auto", async () => {
  for (const speed of [8, 1.5, "auto", [1.5, "auto"], "1.5,8", "5,auto", "1.5, auto", "auto,2"]) {
    const { config } = await resolve("colar", `compression_factor=${JSON.stringify(speed)}`);
    assert.ok(config.model.target === "models/colar.ts");
    const { compression_factor } = config.model.model_kwargs.latent_generation_config;
    assert.deepEqual(compression_factor, speed);
  }
});

for (const model of ["cot", "colar", "icot", "coconut", "distill", "codi"] as const) {
  Deno.test(`config ${model}: a profile sets every switch, an argument one alone`, async () => {
    const switches = [...keysOf(SCHEMAS[`models/${model}.ts`])].flatMap(([path, kind]) =>
      isSwitch(kind) ? [[path, kind] as const] : []
    );
    assert.ok(switches.length >= 6);
    for (const profile of ["released", "corrected"] as const) {
      const { config } = await resolve(model, `profile=${profile}`);
      const values = new Map(flat(config));
      for (const [path, kind] of switches) assert.equal(values.get(path), kind[profile], path);
    }
    const released = (await resolve(model, "profile=released")).config;
    for (
      const [path, { corrected, released: own }] of switches.filter(([, s]) =>
        s.released !== s.corrected
      )
    ) {
      const { config } = await resolve(model, "profile=released", `${path}=${corrected}`);
      assert.deepEqual(changes(released, config), { [path]: corrected });
      const back = await resolve(
        model,
        `${path}=${corrected}`,
        `${path}=profile`,
        "profile=released",
      );
      assert.deepEqual(back.config, released, String(own));
    }
  });
}

Deno.test("config: every switch is a key of some model under its own name, in YAML as `profile`", async () => {
  const names = new Set(
    Object.values(SCHEMAS).flatMap((schema) =>
      [...keysOf(schema)].filter(([, kind]) => isSwitch(kind)).map(([path]) =>
        path.split(".").at(-1)
      )
    ),
  );
  assert.deepEqual([...names].sort(), Object.keys(SWITCHES).sort());
  const texts = await Promise.all(
    ["trainer/default", ...MODELS.split(", ").map((name) => `models/${name}`)].map((name) =>
      Deno.readTextFile(join(FOLDER, `${name}.yaml`))
    ),
  );
  for (const name of names) assert.match(texts.join(), new RegExp(`^ +${name}: profile$`, "m"));
});

Deno.test("config: every YAML file resolves, starts with its command and explains each key", async () => {
  let files = 0, keys = 0;
  for (const layer of ["trainer", "models", "datasets"] as const) {
    for (const name of await configNames(layer)) {
      files++;
      const lines = (await Deno.readTextFile(join(FOLDER, layer, `${name}.yaml`))).split("\n");
      assert.match(
        lines.slice(0, 4).join("\n"),
        /^# .*\n#( .*)?\n(# .*\n)?.*\.\/denow task (train|test) /,
      );
      lines.forEach((line, i) => {
        if (!/^ *\w+: \S/.test(line)) return;
        keys++;
        assert.match(lines[i - 1], /^ *# \S.*[.:]$/, `${name}: ${line} has no comment above it`);
      });
    }
  }
  const [models, datasets, trainers] = await Promise.all(
    (["models", "datasets", "trainer"] as const).map((layer) => configNames(layer)),
  );
  let resolved = 0;
  for (const model of models) {
    for (const dataset of datasets) {
      for (const trainer of trainers) {
        await resolveConfig({ model, dataset, trainer });
        resolved++;
      }
    }
  }
  console.log(`config: ${files} files, ${keys} keys explained, ${resolved} combinations`);
  assert.ok(files >= 5 && keys >= 60 && resolved >= 4);
});

Deno.test("config: the embedded run is the recipe of the embedded model, the paper's run the paper's", async () => {
  const { config: nano } = await resolveConfig({ model: "colar" });
  assert.ok(nano.model.target === "models/colar.ts");
  const { model_kwargs: kwargs, training_kwargs: training } = nano.model;
  assert.deepEqual([kwargs.model_id, kwargs.do_lora, kwargs.freeze_embeddings], [
    "assets/nano",
    false,
    true,
  ]);
  assert.deepEqual([nano.dataloader.batch_size, nano.trainer.max_steps], [16, 2000]);
  assert.deepEqual([training.optimizer.lr, training.scheduler.schedule], [1.5e-3, "linear"]);
  assert.equal(kwargs.latent_policy_config.lp_intermediate_size, 256);
  assert.deepEqual(kwargs.latent_generation_config.compression_factor, [2, 5]);
  // One pass over 32,000 rows, in four epochs.
  assert.deepEqual([nano.trainer.max_epochs, nano.data_module.epoch_scaling], [4, 0.25]);
  const { config: cot } = await resolveConfig({ model: "cot" });
  assert.deepEqual([cot.dataloader.batch_size, cot.trainer.max_steps], [32, 200]);
  const { config: paper } = await resolve("colar");
  assert.deepEqual([paper.dataloader.batch_size, paper.trainer.max_epochs], [256, 50]);
  assert.deepEqual(paper.model.model_kwargs.lora_config, {
    r: 128,
    lora_alpha: 32,
    target_modules: null,
    ...PLAIN_LORA,
  });
});

const PLAIN_LORA = { use_rslora: false, rank_pattern: {}, alpha_pattern: {}, lora_dropout: 0 };

Deno.test("config: numbers by name are one value, in files, in arguments and saved", async () => {
  const { config } = await resolve("cot", 'rank_pattern={"q_proj": 8, "0.self_attn.v_proj": 2}');
  const { rank_pattern } = config.model.model_kwargs.lora_config;
  assert.deepEqual(rank_pattern, { q_proj: 8, "0.self_attn.v_proj": 2 });
  assert.deepEqual((await restoreConfig(await printConfig(config))).config, config);
  for (const value of ["[1]", "3", '{"a": 0}', '{"a": "b"}']) {
    await assert.rejects(
      resolve("cot", `rank_pattern=${value}`),
      /must be numbers above 0 by name/,
    );
  }
});

Deno.test("config: what was saved before a key existed means what it then did", async () => {
  const { config } = await resolve("cot");
  const saved = JSON.parse(JSON.stringify(config));
  delete saved.model.model_kwargs.pad_row;
  for (const key of Object.keys(PLAIN_LORA)) delete saved.model.model_kwargs.lora_config[key];
  assert.deepEqual((await restoreConfig(saved)).config, config);
  delete saved.seed;
  await assert.rejects(
    async () => await restoreConfig(saved),
    /No file of the configuration sets 'seed'/,
  );
  for (const model of ["coconut", "distill", "codi"]) {
    const { config } = await resolve(model);
    const old = JSON.parse(JSON.stringify(config));
    const { cache_in_latent_loop } = old.model.model_kwargs.latent_generation_config;
    const thinking = cache_in_latent_loop === undefined ? undefined : { cache_in_latent_loop };
    old.model.model_kwargs.latent_generation_config = thinking;
    assert.deepEqual((await restoreConfig(JSON.parse(JSON.stringify(old)))).config, config, model);
  }
});

Deno.test("config: Distill and CODI have their published values, and embedded runs from a CoT", async () => {
  const { config: distill } = await resolve("distill");
  const { config: codi } = await resolve("codi");
  assert.ok(distill.model.target === "models/distill.ts" && codi.model.target === "models/codi.ts");
  const { n_latents, alpha, beta, gamma } = distill.model.model_kwargs.distill_config;
  assert.deepEqual([n_latents, alpha, beta, gamma], [6, 1, 1, 20]);
  assert.equal(distill.model.training_kwargs.optimizer.lr, 1e-4);
  const { codi_config: config, lora_config: lora } = codi.model.model_kwargs;
  assert.deepEqual([config.num_latent, config.distill_loss_factor], [6, 20]);
  const sizes = { r: 128, lora_alpha: 32, target_modules: "all-linear" };
  assert.deepEqual(lora, { ...sizes, ...PLAIN_LORA, lora_dropout: 0.1 });
  assert.deepEqual(codi.model.training_kwargs.optimizer, { lr: 8e-4, weight_decay: 0.1 });
  assert.deepEqual([codi.trainer.gradient_clip_val, codi.dataloader.batch_size], [2, 128]);
  for (const model of ["distill", "codi"]) {
    const { config: nano } = await resolveConfig({ model });
    assert.ok("start" in nano.model && nano.model.start === "cot");
    const { optimizer, scheduler } = nano.model.training_kwargs;
    assert.deepEqual([optimizer.lr, scheduler.schedule], [2e-4, "linear"]);
    assert.deepEqual([nano.trainer.max_steps, nano.dataloader.batch_size], [2000, 16]);
  }
});

Deno.test("config: what is printed is read back the same, in one order", async () => {
  for (const model of ["cot", "colar"]) {
    const { config } = await resolveConfig({
      model,
      overrides: ["lr=1e-7", "dataset_name=007", "epoch_scaling=0.5"],
    });
    const text = await printConfig(config);
    assert.match(text, /^seed: 0\nprofile: corrected\ntrainer:\n {2}max_epochs: 2\n/);
    const again = await restoreConfig(text);
    assert.deepEqual(again, { config, set: [] });
    assert.equal(await printConfig(again.config), text);
    assert.equal(await printConfig(JSON.parse(JSON.stringify(config))), text);
    const reversed = Object.fromEntries(Object.entries(config).reverse());
    assert.equal(await printConfig(reversed as unknown as Config), text);
    assert.deepEqual(await restoreConfig(JSON.parse(JSON.stringify(config))), again);
    const { config: more } = await restoreConfig(text, ["max_new_tokens=3"]);
    assert.equal(more.model.model_kwargs.answer_generation_config.max_new_tokens, 3);
  }
});

/** A copy of configs/ in which a file's text was edited. */
async function edited<T>(
  file: string,
  from: string,
  to: string,
  run: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    for (const layer of ["trainer", "models", "datasets"]) {
      await Deno.mkdir(join(folder, layer));
      for await (const { name } of Deno.readDir(join(FOLDER, layer))) {
        const path = join(layer, name);
        const text = await Deno.readTextFile(join(FOLDER, path));
        if (path === file) assert.ok(text.includes(from), from);
        await Deno.writeTextFile(join(folder, path), path === file ? text.replace(from, to) : text);
      }
    }
    return await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const faults: [string, string, string, RegExp][] = [
  [
    "models/colar.yaml",
    "      r: 128",
    "      rank: 128",
    /^configs\/models\/colar.yaml: Unknown config key 'model.model_kwargs.lora_config.rank' \(/,
  ],
  [
    "models/colar.yaml",
    "      r: 128",
    "      r: many",
    /^configs\/models\/colar.yaml: model.model_kwargs.lora_config.r must be an integer from 1, got 'many'$/,
  ],
  [
    "models/colar.yaml",
    "      r: 128",
    "      r: 128\n      r: 64",
    /^configs\/models\/colar.yaml is not YAML: Map keys must be unique/,
  ],
  [
    "models/colar.yaml",
    "      r: 128",
    "      r: 128\n      sft_method: colar",
    /^configs\/models\/colar.yaml: Unknown config key 'model.model_kwargs.lora_config.sft_method' \(--model names the method\)$/,
  ],
  [
    "models/colar.yaml",
    "models/colar.ts",
    "models/colour.ts",
    /^configs\/models\/colar.yaml: model.target must be (models\/\w+.ts or )+models\/icot.ts, or a file of your own that is there, got 'models\/colour.ts'$/,
  ],
  [
    "models/colar.yaml",
    "      lr: 1e-4",
    "      weight_decay: 0",
    /is not YAML: Map keys must be unique/,
  ],
  [
    "models/colar.yaml",
    "      # Learning rate after the warm-up.\n      lr: 1e-4\n",
    "",
    /^No file of the configuration sets 'model.training_kwargs.optimizer.lr'$/,
  ],
  [
    "trainer/default.yaml",
    "dataloader:",
    "dataloader: 3\nother:",
    /^configs\/trainer\/default.yaml: dataloader must have keys and values below it, got 3$/,
  ],
  [
    "datasets/gsm8k_aug.yaml",
    "data_module:",
    "models:\n  colr: {}\ndata_module:",
    /^configs\/datasets\/gsm8k_aug.yaml: Unknown model 'colr'. configs\/models\/ has: (\w+, )+icot$/,
  ],
  [
    "datasets/gsm8k_aug.yaml",
    "data_module:",
    "models: 3\ndata_module:",
    /^configs\/datasets\/gsm8k_aug.yaml: models must have a model's name and its keys below$/,
  ],
  [
    "datasets/gsm8k_aug.yaml",
    "data_module:",
    "models:\n  colar:\n    layout: clean\ndata_module:",
    /^configs\/datasets\/gsm8k_aug.yaml: models.colar: Unknown config key 'layout' \(/,
  ],
  [
    "datasets/gsm8k_aug.yaml",
    "data_module:",
    "- data_module:",
    /^configs\/datasets\/gsm8k_aug.yaml must have keys and values, got \[/,
  ],
];
for (const [file, from, to, text] of faults) {
  Deno.test(`config ${file} with ${JSON.stringify(to)}: the file is named`, async () => {
    await edited(file, from, to, async (folder) => {
      assert.match(
        await message(() => resolveConfig({ model: "colar", dataset: "gsm8k_aug", folder })),
        text,
      );
    });
  });
}

Deno.test("config: a saved text of another program is refused by name", async () => {
  await assert.rejects(restoreConfig("a: 1", [], "run.yaml"), {
    name: "RangeError",
    message:
      `run.yaml: model.target must be ${TARGETS}, or a file of your own that is there, got nothing`,
  });
});
