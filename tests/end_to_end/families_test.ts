/**
 * Every family of models trains and is tested with every method through the command line; what is saved is tested, gone
 * on with and exported as what it is.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Gpu } from "../../gpu/device.ts";
import { loadCheckpoint } from "../../io/checkpoint.ts";
import { runFolderOf } from "../../io/run_log.ts";
import { type LoadedTensor, loadSafetensors } from "../../io/safetensors.ts";
import { main } from "../../main.ts";
import { buildMethod } from "../../training/build.ts";
import { readTensors } from "../../training/tensors.ts";
import { configureTest } from "../../training/test_checkpoint.ts";
import type { TestResults } from "../../training/test_run.ts";
import { gpuTest, testGpu } from "../check_op.ts";
import { FAMILIES, type Family, familyFolder, type FamilyName } from "../training/tiny_families.ts";
import { captured } from "../training/tiny_model.ts";

// Without decay only a gradient changes a tensor; at this rate two steps change the answers.
const TINY =
  "n_train=4 n_val=1 n_test=3 batch_size=2 max_steps=2 epoch_scaling=1 test_times=1 max_new_tokens=2 " +
  "schedule=constant warmup_steps=0 weight_decay=0 lr=0.1 r=2 lora_alpha=4";
const LATENTS = "max_n_latent_forward=2 lp_intermediate_size=8 compression_factor=2";

/** What each method needs besides; reinforcement goes on from CoLaR, the others begin with the model as it is. */
const METHODS = {
  cot: "",
  icot: "start=none max_n_stage=2 stage_ends=[0.5]",
  coconut: "start=none max_n_stage=2 stage_ends=[0.5] n_latents_per_step=1",
  distill: "start=none n_latents=2",
  codi: "start=none num_latent=2",
  colar: `start=none ${LATENTS} pred_embed_forward_weight=1 top_k=2 lora_dropout=0.2`,
  reinforcement: `${LATENTS} do_rl=True n_train_samples_per_epoch=4 group_size=4 top_k=2`,
} as const;
type MethodName = keyof typeof METHODS;

/** What is done with a family besides training an adapter by every method. */
interface Plan {
  /** Methods that train all of the backbone as well. */
  readonly full: readonly MethodName[];
  /** The method that is interrupted, and the one whose checkpoint is exported. */
  readonly resumed: MethodName;
  readonly exported: MethodName;
}

const PLANS: Record<FamilyName, Plan> = {
  "Llama 3.2: grouped queries, tied, bfloat16, scaled rotary positions": {
    ...{ full: ["colar", "reinforcement"], resumed: "coconut", exported: "codi" },
  },
  "Llama: a head of its own, float32, in three shards": {
    ...{ full: ["cot", "distill"], resumed: "colar", exported: "distill" },
  },
  "Qwen2: biases, bfloat16, tables with spare rows": {
    ...{ full: ["icot", "coconut"], resumed: "codi", exported: "colar" },
  },
  "GPT-2: names behind transformer.": {
    ...{ full: ["colar", "reinforcement"], resumed: "distill", exported: "coconut" },
  },
  "GPT-2: plain names, with masks": {
    ...{ full: ["coconut", "codi"], resumed: "reinforcement", exported: "codi" },
  },
};

/** A run that was trained and tested: its checkpoint, and what it answered. */
interface Run {
  readonly ckpt: string;
  readonly results: TestResults;
}

/** Command lines on one model in a workspace of its own. */
class FamilyRuns {
  constructor(
    readonly workspace: string,
    private readonly model: string,
    private readonly kernels: string,
  ) {}

  /** Trains, tests, tests what was saved again, and looks at what was written. */
  async method(name: MethodName, settings: readonly string[], start?: Run): Promise<Run> {
    const { out, ckpt } = await this.#train(name, settings, start);
    const model = modelOf(name);
    assert.match(out, new RegExp(`\ntrain ${model} on .+: \\d rows, 2 steps of 2\\b`));
    assert.match(out, /\n +greedy +#L +drawn, 1 seed +#L\n/);
    await checkLosses(ckpt, name);
    await this.#checkTensors(ckpt, start);
    const results = await resultsIn(runFolderOf(ckpt)!);
    const again = await this.#command("test", `--ckpt=${ckpt}`);
    const [, folder] = /\nlogs: (.*)$/.exec(again)!;
    assert.deepEqual(answersOf(await resultsIn(folder)), answersOf(results));
    return { ckpt, results };
  }

  /** A run that ends after a step and goes on is the run that never ended. */
  async checkResumed(
    name: MethodName,
    settings: readonly string[],
    { ckpt }: Run,
    start?: Run,
  ): Promise<void> {
    const first = await this.#train(name, [...settings, "max_steps=1"], start);
    const last = join(first.ckpt, "../last");
    await this.#command("train", `--resume_ckpt_path=${last}`, "max_steps=2");
    const { state, tensors } = await loadCheckpoint(last);
    assert.equal(state.step, 2);
    for (const [tensor, { data }] of (await loadCheckpoint(ckpt)).tensors) {
      assert.deepEqual(tensors.get(tensor)!.data, data, tensor);
    }
  }

  /** The adapter begins a run as it is; the merged model is the base model with its updates, and nothing else. */
  async checkExported({ ckpt }: Run): Promise<void> {
    const [peft, merged] = ["peft", "merged"].map((name) => join(this.workspace, name));
    await this.#command("export", `--ckpt=${ckpt}`, "--format=peft", `--out=${peft}`);
    await this.#command("export", `--ckpt=${ckpt}`, "--format=merged", `--out=${merged}`);
    const { tensors } = await loadCheckpoint(ckpt);
    const still = ["max_steps=1", "lr=1e-30", `--load_adapter=${peft}`];
    const begun = await this.#train("cot", still);
    for (const [name, { data }] of (await loadCheckpoint(begun.ckpt)).tensors) {
      assert.deepEqual(data, tensors.get(name)!.data, name);
    }
    checkMerged(await weightsIn(this.model), await weightsIn(merged), tensors);
  }

  /** Every trained tensor is finite and none is what it was at the start. */
  async #checkTensors(path: string, start?: Run): Promise<void> {
    const { workspace } = this;
    const { checkpoint, config, initialSeed: seed } = await configureTest({ path, workspace });
    assert.equal(checkpoint.state.step, 2);
    using built = await buildMethod({ gpu: await testGpu(), config, workspace, seed });
    const { method: { backbone: { weights: { gpu } }, parameters } } = built;
    const before = start
      ? (await loadCheckpoint(start.ckpt)).tensors
      : await readTensors(gpu, parameters);
    assert.deepEqual([...checkpoint.tensors.keys()].sort(), [...before.keys()].sort());
    for (const [name, { data }] of checkpoint.tensors) {
      assert.ok(data.every(Number.isFinite), name);
      assert.notDeepEqual(data, before.get(name)!.data, `${name} was not trained`);
    }
  }

  async #train(name: MethodName, settings: readonly string[], start?: Run) {
    const from = start ? [`--load_ckpt_path=${start.ckpt}`] : [];
    const args = ["train", `--model=${modelOf(name)}`, "--do_test", ...from];
    const all = [`model_id=${this.model}`, ...settingsOf(name), ...settings];
    const out = await this.#command(...args, ...all);
    return { out, ckpt: /\ntest: \.\/denow task test --ckpt=(.*)$/.exec(out)![1] };
  }

  async #command(...args: string[]): Promise<string> {
    const { code, out, errors } = await commandLine(this.workspace, this.kernels, args);
    assert.deepEqual([code, errors], [0, ""], args.join(" "));
    return out;
  }
}

/** Runs a command line. */
async function commandLine(workspace: string, kernels: string, args: readonly string[]) {
  const places = [`--workspace_path=${workspace}`, `--kernels=${kernels}`];
  const { result: code, out, errors } = await captured(() => main([...args, ...places]));
  return { code, out, errors };
}

/** The matrix kernels, named, so that nothing is measured. */
const kernelsOf = ({ isSoftware }: Gpu) => isSoftware ? "subgroup" : "tiled";
const settingsOf = (name: MethodName) => `${TINY} ${METHODS[name]}`.trim().split(" ");
const modelOf = (name: MethodName) => name === "reinforcement" ? "colar" : name;
const isChained = (name: MethodName) => ["coconut", "distill", "codi"].includes(name);

type Tensors = Awaited<ReturnType<typeof loadCheckpoint>>["tensors"];

/** The tensors of a model's folder, under names without `transformer.`. */
async function weightsIn(folder: string): Promise<Map<string, LoadedTensor>> {
  const all = new Map<string, LoadedTensor>();
  for await (const { name: file } of Deno.readDir(folder)) {
    if (!/^model.*\.safetensors$/.test(file)) continue;
    for (const [name, tensor] of await loadSafetensors(join(folder, file))) {
      all.set(name.replace(/^transformer\./, ""), tensor);
    }
  }
  return all;
}

/** W + lora_alpha / r B A where there is an adapter; else what was there, bit for bit, but for the rows of [PAD]. */
function checkMerged(
  before: ReadonlyMap<string, LoadedTensor>,
  after: ReadonlyMap<string, LoadedTensor>,
  trained: Tensors,
): void {
  const isGpt2 = before.has("wte.weight");
  let numMerged = 0;
  for (const [name, { data, shape, dtype }] of after) {
    const old = before.get(name)!;
    const module = name.replace(/\.weight$/, "").replace(/^h\./, "transformer.h.");
    const [a, b] = ["A", "B"].map((side) =>
      trained.get(`llm.base_model.model.${module}.lora_${side}.default.weight`)
    );
    if (!a || !b) {
      const size = Math.min(old.data.length, data.length);
      assert.deepEqual(data.subarray(0, size), old.data.subarray(0, size), name);
      if (shape.length === 2) assert.equal(dtype, old.dtype, name);
      continue;
    }
    const [out, rank] = b.shape;
    const inputs = a.shape[1];
    assert.deepEqual(shape, isGpt2 ? [inputs, out] : [out, inputs], name);
    for (let o = 0; o < out; o++) {
      for (let i = 0; i < inputs; i++) {
        const at = isGpt2 ? i * out + o : o * inputs + i;
        let update = 0;
        for (let r = 0; r < rank; r++) update += 2 * b.data[o * rank + r] * a.data[r * inputs + i];
        assert.ok(Math.abs(data[at] - old.data[at] - update) < 1e-6, `${name}[${o}][${i}]`);
      }
    }
    assert.notDeepEqual(data, old.data, name);
    numMerged++;
  }
  const isAdapter = (name: string) => name.includes(".lora_A.");
  assert.equal(numMerged, [...trained.keys()].filter(isAdapter).length);
}

/** Two steps were logged, with finite losses; samples of reinforcement were not all worth the same. */
async function checkLosses(ckpt: string, name: MethodName): Promise<void> {
  const text = await Deno.readTextFile(join(runFolderOf(ckpt)!, "train.json"));
  const lines = text.trimEnd().split("\n").map((line) => JSON.parse(line) as Record<string, number>)
    .filter(({ loss }) => loss !== undefined);
  assert.equal(lines.length, 2);
  for (const line of lines) {
    for (const [key, value] of Object.entries(line)) assert.ok(Number.isFinite(value), key);
  }
  if (name === "reinforcement") assert.ok(lines.some((line) => line.groups_with_advantage > 0));
  else assert.ok(lines[0].loss > 0 && lines[0].loss !== lines[1].loss);
}

async function resultsIn(folder: string): Promise<TestResults> {
  return JSON.parse(await Deno.readTextFile(join(folder, "test.json")));
}

/** Everything that was answered. */
function answersOf({ speeds }: TestResults) {
  return speeds.map(({ speed, greedy, paper }) => ({
    speed,
    runs: [greedy, ...paper!.runs].map(({ predictions }) => predictions),
  }));
}

/** A data set of questions whose answers a run has drawn itself, so that some samples are right. */
async function ownAnswers(workspace: string, { results }: Run): Promise<string> {
  const { predictions } = results.speeds[0].paper!.runs[0];
  const rows = predictions.filter(({ pred_answer }) => pred_answer.trim() !== "")
    .map(({ index, pred_answer }) => ({
      question: results.questions[index],
      steps: ["<<1+1=2>>"],
      answer: pred_answer,
    }));
  assert.ok(rows.length > 1, "too few answers");
  const folder = await Deno.makeTempDir({ dir: workspace });
  for (const split of ["train", "val", "test"]) {
    await Deno.writeTextFile(join(folder, `${split}.json`), JSON.stringify(rows));
  }
  return folder;
}

/** Trains and tests a family with every method, each with an adapter, and some with all of the backbone as well. */
async function everyMethod(
  t: Deno.TestContext,
  runs: FamilyRuns,
  number: number,
  { full, resumed, exported }: Plan,
): Promise<void> {
  const trained = new Map<string, Run>();
  for (const doLora of [true, false]) {
    for (const [j, method] of (Object.keys(METHODS) as MethodName[]).entries()) {
      if (!doLora && !full.includes(method)) continue;
      const settings = [
        `do_lora=${doLora}`,
        `profile=${(number + j) % 2 === 0 ? "corrected" : "released"}`,
        `activation_checkpointing=${(number + j) % 4 < 2 && !isChained(method)}`,
      ];
      await t.step(`${method} ${settings.join(" ")}`, async () => {
        const colar = method === "reinforcement" ? trained.get(`colar ${doLora}`) : undefined;
        if (colar) settings.push(`dataset_name=${await ownAnswers(runs.workspace, colar)}`);
        const run = await runs.method(method, settings, colar);
        trained.set(`${method} ${doLora}`, run);
        if (doLora && method === resumed) await runs.checkResumed(method, settings, run, colar);
        if (doLora && method === exported) await runs.checkExported(run);
      });
    }
  }
}

for (const [i, [name, family]] of Object.entries<Family>(FAMILIES).entries()) {
  Deno.test({
    name: `families: every method trains and is tested on ${name}`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async (t) => {
      const workspace = await Deno.makeTempDir();
      try {
        const model = await familyFolder(workspace, family);
        const runs = new FamilyRuns(workspace, model, kernelsOf(await testGpu()));
        await everyMethod(t, runs, i, PLANS[name as FamilyName]);
      } finally {
        await Deno.remove(workspace, { recursive: true });
      }
    },
  });
}

gpuTest("families: what GPT-2 has no positions for is told in one line", async (gpu) => {
  const gpt2: Family = FAMILIES["GPT-2: names behind transformer."];
  const workspace = await Deno.makeTempDir();
  const run = (...args: string[]) => commandLine(workspace, kernelsOf(gpu), args);
  try {
    const short = { ...gpt2, config: { ...gpt2.config, n_positions: 60 } };
    const model = await familyFolder(workspace, short);
    for (const name of Object.keys(METHODS) as MethodName[]) {
      if (name === "reinforcement") continue; // its start is refused
      const settings = [`model_id=${model}`, ...settingsOf(name)];
      const row = await run("train", `--model=${name}`, ...settings);
      assert.equal(row.code, 2);
      assert.match(
        row.errors,
        /^training row \d needs \d\d positions, but the model has 60 \(n_positions of .*\); shorten.*$/,
      );
      const question = await run("train", `--model=${name}`, "--do_test", ...settings);
      assert.equal(question.code, 2);
      assert.match(question.errors, /^question 0 has a prompt of \d+ tokens and may grow by \d.*$/);
    }
    await Deno.remove(model, { recursive: true });
    const longer = { ...gpt2, config: { ...gpt2.config, n_positions: 100 } };
    const settings = [`model_id=${await familyFolder(workspace, longer)}`, ...settingsOf("cot")];
    const { code, errors } = await run("train", "--model=cot", ...settings, "max_new_tokens=60");
    assert.equal(code, 2);
    assert.match(errors, /^question 0 has .* may grow by 60, .*; set a smaller max_new_tokens.*$/);
    const runFolders = Array.from(Deno.readDirSync(join(workspace, "logs/cot/arith")));
    const saved = runFolders.map(({ name }) => name).sort().at(-1)!;
    const last = join(workspace, "logs/cot/arith", saved, "checkpoints/last");
    assert.equal((await loadCheckpoint(last)).state.step, 2, "the epoch is not lost");
    const resumed = await run("train", `--resume_ckpt_path=${last}`, "max_new_tokens=2");
    assert.deepEqual([resumed.code, resumed.errors], [0, ""]);
  } finally {
    await Deno.remove(workspace, { recursive: true });
  }
});
