/** A method of one's own: a file and its YAML, outside models/ and configs/, and nothing else; see docs/adding_a_model.md. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Graph } from "../../autograd/tape.ts";
import { promptIds } from "../../data/prompt.ts";
import { readCheckpoint } from "../../io/checkpoint.ts";
import { resolveConfig } from "../../io/config.ts";
import { pushCheckpoint } from "../../io/hub_push.ts";
import { packRows } from "../../llm/tokens.ts";
import { main } from "../../main.ts";
import { IGNORED, languageLoss } from "../../models/language_loss.ts";
import { embedding } from "../../ops/embedding.ts";
import { buildMethod } from "../../training/build.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { message } from "../io/config_cases.ts";
import { withHub } from "../io/hub_server.ts";
import { captured, inWorkspace, QUICK } from "../training/tiny_model.ts";

const OWN = join(import.meta.dirname!, "own");
const MODEL = join(OWN, "pause.yaml");

const resolve = (...overrides: string[]) => resolveConfig({ model: MODEL, overrides });

gpuTest("a method of one's own trains, is tested, saved, and resumed", async (gpu) => {
  await inWorkspace(gpu, async (workspace, model) => {
    const places = [
      `--workspace_path=${workspace}`,
      `--kernels=${gpu.isSoftware ? "subgroup" : "tiled"}`, // named, so that nothing is measured
    ];
    const run = (...args: string[]) => captured(() => main([...args, ...places]));
    const quick = [...QUICK, "max_steps=2", "n_test=3", "val_batch_size=2"];
    const train = await run(
      "train",
      `--model=${MODEL}`,
      "--do_test",
      `model_id=${model}`,
      ...quick,
    );
    assert.deepEqual([train.result, train.errors], [0, ""]);
    assert.match(train.out, /\ntrain pause on arith: 24 rows, 2 steps of 4, /);
    assert.match(train.out, /\npause, speed auto +\d/);
    const [, folder] = /\nlogs: (.*)\n/.exec(train.out)!;
    const last = join(folder, "checkpoints/last");
    const { state } = await readCheckpoint(last);
    assert.equal(state.step, 2);
    const { speeds: [{ greedy }] } = JSON.parse(await Deno.readTextFile(join(folder, "test.json")));
    assert.equal(greedy.n_latent_forward, 2);
    const more = await run("train", `--resume_ckpt_path=${last}`, "max_steps=3");
    assert.deepEqual([more.result, more.errors], [0, ""]);
    assert.equal((await readCheckpoint(last)).state.step, 3);
    const steps = (await Deno.readTextFile(join(folder, "train.json"))).trim().split("\n");
    const losses = steps.map((line) => JSON.parse(line)).filter((line) => "answer_loss" in line);
    assert.ok(losses.length > 0 && losses.every(({ loss, answer_loss }) => loss === answer_loss));
    const test = await run("test", `--ckpt=${last}`, "num_pauses=4", "--no_log", "test_times=1");
    assert.deepEqual([test.result, test.errors], [0, ""]);
    assert.match(test.out, /\npause, speed auto +[\d.]+ % \(.*\) +4\.0 /);
    const copy = join(workspace, "copy");
    if (!await published(last, copy)) return;
    const again = ["test", `--ckpt=${copy}`, `model_id=${model}`, "--no_log", "test_times=1"];
    const without = await run(...again);
    assert.equal(without.result, 2);
    assert.match(
      without.errors,
      /^'.*copy' is of a method whose file, 'pause\.ts', .* or add model\.target=FILE/,
    );
    const named = await run(...again, `model.target=${join(OWN, "pause.ts")}`);
    assert.deepEqual([named.result, named.errors], [0, ""]);
    assert.match(named.out, /\npause, speed auto +[\d.]+ % \(.*\) +2\.0 /);
  });
});

/**
 * Publishes a checkpoint, and copies what others get of it.
 * @returns whether a server may listen here
 */
async function published(path: string, copy: string): Promise<boolean> {
  const net = await Deno.permissions.query({ name: "net", host: "127.0.0.1" });
  if (net.state !== "granted") {
    console.log("skipped, needs --allow-net=127.0.0.1: its publication");
    return false;
  }
  await withHub(async (hub, cache) => {
    await pushCheckpoint({ path, repo: "me/pause" }, hub.options(cache, { HF_TOKEN: "writer" }));
    await Deno.mkdir(copy);
    for (const [name, bytes] of hub.repos.get("models/me/pause")!.files) {
      await Deno.writeFile(join(copy, name), bytes);
    }
  });
  return true;
}

gpuTest("a method of one's own that has a policy is trained on by reinforcement", async (gpu) => {
  const model = join(OWN, "sampled.yaml");
  await inWorkspace(gpu, async (workspace, folder) => {
    const places = [
      `--workspace_path=${workspace}`,
      `--kernels=${gpu.isSoftware ? "subgroup" : "tiled"}`,
    ];
    const settings = [`model_id=${folder}`, ...QUICK, "max_steps=2"];
    const run = (...more: string[]) =>
      captured(() => main(["train", `--model=${model}`, ...settings, ...more, ...places]));
    const lastOf = (out: string) => join(/\nlogs: (.*)\n/.exec(out)![1], "checkpoints/last");
    const first = await run();
    assert.deepEqual([first.result, first.errors], [0, ""]);
    const load = `--load_ckpt_path=${lastOf(first.out)}`;
    const rl = ["do_rl=True", "batch_size=2", "group_size=2", "n_train_samples_per_epoch=4"];
    const without = await run(...rl);
    assert.match(without.errors, /^do_rl=True goes on from a trained model, --load_ckpt_path is/);
    const greedy = await run(load, ...rl, "do_sample=False");
    assert.match(greedy.errors, /^do_sample must be True with do_rl/);
    const reinforced = await run(load, ...rl);
    assert.deepEqual([reinforced.result, reinforced.errors], [0, ""]);
    assert.match(
      reinforced.out,
      /\ntrain sampled on arith: .* 2 steps of 2 questions x 2 samples, /,
    );
    const log = join(lastOf(reinforced.out), "../../train.json");
    const [step] = (await Deno.readTextFile(log)).split("\n", 1).map((line) => JSON.parse(line));
    assert.ok("text_loss" in step && "reward" in step && "groups_with_advantage" in step);
  });
});

gpuTest("a policy of one's own: its texts are as probable as it says", async (gpu) => {
  const overrides = ["do_rl=True", "max_new_tokens=3"];
  const { config } = await resolveConfig({ model: join(OWN, "sampled.yaml"), overrides });
  using built = await buildMethod({ gpu, config, workspace: "." });
  const { backbone, tokenizer, policy } = built.method;
  const texts = ["2 pens and 3 pens?", "2 pens and 3 pens?", "How many?"];
  const rollouts = await policy!.rollout(texts, { seed: 1, sampleIds: [4, 5, 6] });
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const { logProbs, lengths } = policy!.logProbs(g, rollouts).parts.text;
  assert.deepEqual(lengths, rollouts.map(({ answer }) => answer.ids.length));
  const found = [...await gpu.read(logProbs)];
  for (const [i, { answer: { ids } }] of rollouts.entries()) {
    const prompt = promptIds(tokenizer, texts[i], 1);
    const x = embedding(g, backbone.embeddings, Uint32Array.from([...prompt, ...ids]));
    const { hidden } = backbone.forward(g, x, packRows(scope, [{ length: x.shape[0] }]));
    const loss = languageLoss(g, backbone, hidden, [...prompt.map(() => IGNORED), ...ids]);
    const mean = found.splice(0, ids.length).reduce((sum, p) => sum + p, 0) / ids.length;
    assertClose(await gpu.read(loss), [-mean], 1e-5, texts[i]);
  }
});

Deno.test("a method of one's own: its keys are checked as all others", async () => {
  const mistakes: [string, string][] = [
    ["num_pausse=1", "Unknown config key 'num_pausse' (did you mean 'num_pauses'?)"],
    ["num_pauses=1.5", "num_pauses must be an integer from 0, got 1.5"],
    ["num_pauses=many", "num_pauses must be an integer from 0, got 'many'"],
    ["answer_weight=0", "answer_weight must be a number above 0, got 0"],
    ["layout=clean", "Unknown config key 'layout' (--print_config shows every key)"],
  ];
  for (const [argument, text] of mistakes) {
    assert.equal(await message(() => resolve(argument)), text);
  }
  const { config, set } = await resolve("num_pauses=7", "profile=released");
  assert.equal(config.model.target as string, join(OWN, "pause.ts"));
  assert.deepEqual(set[0].paths, ["model.model_kwargs.pause_config.num_pauses"]);
  assert.equal(config.model.model_kwargs.answer_generation_config.top_k, 50);
});

/** Files of one's own in a folder, edited, and what the command line says about them. */
async function told(from: string, to: string, more: Record<string, string> = {}): Promise<string> {
  const folder = await Deno.makeTempDir();
  try {
    const text = await Deno.readTextFile(MODEL);
    assert.ok(text.includes(from), from);
    const files = { "mine.yaml": text.replace(from, to), ...more };
    for (const [name, content] of Object.entries(files)) {
      await Deno.writeTextFile(join(folder, name), content);
    }
    const said = await message(() => resolveConfig({ model: join(folder, "mine.yaml") }));
    return said.replaceAll(folder, "FOLDER");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a method of one's own: mistakes of its files name the file", async () => {
  assert.match(
    await told("./pause.ts", "./pose.ts"),
    /^FOLDER\/mine.yaml: model.target must be .*, or a file of your own that is there, got 'FOLDER\/pose.ts'$/,
  );
  const mine = { "pause.ts": "export const options = {};\n" };
  assert.match(
    await told("num_pauses", "num_pauses", mine),
    /^FOLDER\/mine.yaml: Unknown config key 'model.model_kwargs.pause_config' \(/,
  );
  assert.equal(
    await told("./pause.ts", "./a.ts", { "a.ts": "export const options = { pauses: 3 };\n" }),
    "FOLDER/a.ts: options must have a kind of io/config_kinds.ts for each key, or a group of them",
  );
  assert.equal(
    await told("./pause.ts", "./b.ts", { "b.ts": "export const options = { model_id: {} };\n" }),
    "FOLDER/b.ts: options.model_id is a key of every method; rename it",
  );
  assert.equal(
    await told("./pause.ts", "./c.ts", {
      "c.ts": "const kind = { rule: '', types: [], accepts: () => true };\n" +
        "export const options = { do_rl: kind, rl_config: { n_train_samples_per_epoch: kind } };\n",
    }),
    "FOLDER/c.ts: options.do_rl is there, but options.rl_config has no resample_each_epoch; " +
      "take all of REINFORCEMENT in io/config_schema.ts",
  );
  assert.equal(
    await message(() => resolveConfig({ model: "nowhere/mine.yaml" })),
    "No file 'nowhere/mine.yaml'; --model takes a name of configs/models/, or a path of your own",
  );
});

Deno.test("docs/adding_a_model.md shows the files that are tested here", async () => {
  const docs = new URL("../../docs/adding_a_model.md", import.meta.url);
  const text = await Deno.readTextFile(docs);
  for (const name of ["pause.ts", "pause.yaml"]) {
    const file = await Deno.readTextFile(join(OWN, name));
    assert.ok(text.includes(file.trimEnd()), `the document shows another ${name}`);
  }
});
