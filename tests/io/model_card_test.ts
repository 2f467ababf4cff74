/** The card of a model: its command makes the run's configuration again, and it tells no folder of this machine. */
import assert from "node:assert/strict";
import { resolveConfig } from "../../io/config.ts";
import { argumentsOf, modelCard, portableConfig } from "../../io/model_card.ts";

const NAMES = { model: "colar", dataset: "arith", trainer: "default" };
const FILES = ["README.md", "config.yaml"];

for (
  const overrides of [
    [],
    ["lr=0.5", "compression_factor=2,5", "do_rl=True", "schedule=cosine", "n_train=50"],
    ["profile=released", "top_k=7"],
    ["max_epochs=3"],
    ["epoch_scaling=0.3"],
    ["epoch_scaling=0.3", "max_epochs=2"],
    ["epoch_scaling=2", "max_epochs=7"],
  ]
) {
  Deno.test(`card: the command of ${overrides.join(" ") || "the defaults"} makes it again`, async () => {
    const { config } = await resolveConfig({ ...NAMES, overrides });
    const settings = await argumentsOf(config, NAMES);
    assert.deepEqual((await resolveConfig({ ...NAMES, overrides: settings })).config, config);
    assert.equal(settings!.length === 0, overrides.length === 0);
  });
}

Deno.test("card: metadata, command, data, results and files", async () => {
  const commit = "c".repeat(40);
  const source = "source=openai/gsm8k";
  const model_id = `model_id=meta-llama/Llama-3.2-1B-Instruct@${commit}`;
  const overrides = [source, model_id, "do_lora=True", "n_train=500"];
  const { config } = await resolveConfig({ ...NAMES, overrides });
  const score = { acc: 0.613, n_latent_forward: 11.2, interval: [0.557, 0.667] as const };
  const card = await modelCard({
    repo: "me/mine",
    config,
    epoch: 2,
    step: 50,
    names: NAMES,
    beginsFromCheckpoint: true,
    results: {
      dataset: "arith",
      num_questions: 300,
      rows: [{ label: "colar, speed 2", greedy: score, drawn: score }, {
        label: "b",
        greedy: score,
      }],
    },
    environment: { deno: "2.9.6", os: "linux", arch: "x86_64", adapter: { description: "A GPU" } },
    files: FILES,
  });
  const expected = [
    "---\nlibrary_name: colar-webgpu\nbase_model: meta-llama/Llama-3.2-1B-Instruct\ndatasets:\n- openai/gsm8k\ntags:\n- colar\n---\n",
    "# colar on arith\n",
    "`models/colar.ts`, a LoRA adapter of meta-llama/Llama-3.2-1B-Instruct@c",
    "step 50, after 2 whole epochs",
    "```sh\n./denow task train \\\n  --model=colar \\\n  --dataset=arith \\\n  --load_ckpt_path=CHECKPOINT \\\n",
    `  model.model_kwargs.model_id=meta-llama/Llama-3.2-1B-Instruct@${commit} \\\n`,
    "  --do_test\n```",
    "- `n_train`: 500\n",
    "| colar, speed 2 | 61.3 % (55.7 to 66.7) | 11.2 | 61.3 % (55.7 to 66.7) | 11.2 |\n",
    "| b | 61.3 % (55.7 to 66.7) | 11.2 | | |\n",
    "- seed: 0\n- Deno 2.9.6 on linux x86_64\n- A GPU\n",
    "hf download me/mine --local-dir mine\n./denow task test --ckpt=mine\n",
    "| `config.yaml` | the resolved configuration |\n",
  ];
  for (const part of expected) assert.ok(card.includes(part), `${part}\nis not in\n${card}`);
});

Deno.test("card: without a test, a Hub's model or known files of configs/", async () => {
  const { config } = await resolveConfig(NAMES);
  const card = await modelCard({
    repo: "me/mine",
    config,
    epoch: 0,
    step: 1,
    names: { ...NAMES, model: "gone" },
    beginsFromCheckpoint: false,
    files: FILES,
  });
  assert.ok(card.includes("This checkpoint was not tested."));
  assert.ok(card.includes("Its settings are in `config.yaml`."));
  assert.ok(!/base_model|datasets|--do_test|load_ckpt_path|undefined|null/.test(card), card);
});

Deno.test("card: absolute paths lose their folders", async () => {
  const overrides = ["model_id=/home/me/models/tiny", "dataset_name=/data/secret/set"];
  const { config } = await resolveConfig({ ...NAMES, overrides });
  const { model, data_module } = await portableConfig(config);
  assert.deepEqual([model.model_kwargs.model_id, data_module.dataset_name], ["tiny", "set"]);
});
