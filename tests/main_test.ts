/** The command line: what it prints where, and its exit codes. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Facts, Problem } from "../io/doctor.ts";
import { configNames, restoreConfig } from "../io/config.ts";
import { main } from "../main.ts";
import { gpuTest } from "./check_op.ts";
import { captured, inWorkspace, QUICK } from "./training/tiny_model.ts";

/** Runs a command line and collects what it prints. */
async function run(...args: string[]): Promise<{ code: number; out: string; errors: string }> {
  const { result: code, out, errors } = await captured(() => main(args));
  return { code, out, errors };
}

for (
  const args of [[], ["--help"], ["-h"], ["doctor", "--help"], ["train", "--model=x", "--help"]]
) {
  Deno.test(`main.ts ${args.join(" ")}: prints the commands`, async () => {
    const { code, out, errors } = await run(...args);
    assert.equal(code, 0);
    assert.match(out, /^Usage: main\.ts COMMAND\n\n {2}train .*\n(.*\n)+ {2}--help$/);
    const published =
      "model dataset trainer devices no_log log_suffix resume_ckpt_path load_ckpt_path " +
      "do_test test_ckpt_path test_times seed workspace_path ckpt kernels print_config json";
    for (const option of published.split(" ")) assert.match(out, new RegExp(`--${option}\\b`));
    assert.equal(errors, "");
  });
}

const MODELS = (await configNames("models")).join(", ");
const mistakes: [string[], string][] = [
  [["doctr"], "Unknown command 'doctr' (did you mean 'doctor'?)"],
  [["play"], "Unknown command 'play' (there is: train, test, data, export, push, report, doctor)"],
  [
    ["constructor"],
    "Unknown command 'constructor' (there is: train, test, data, export, push, report, doctor)",
  ],
  [["doctor", "--kernel=auto"], "Unknown option '--kernel' (did you mean '--kernels'?)"],
  [
    ["doctor", "--verbose"],
    "Unknown option '--verbose' (there is: --kernels, --json, --model_id, --batch_size, --length, --workspace_path)",
  ],
  [
    ["doctor", "-v"],
    "Unknown option '-v' (there is: --kernels, --json, --model_id, --batch_size, --length, --workspace_path)",
  ],
  [["doctor", "--kernels"], "--kernels needs a value, as in --kernels=auto"],
  [["doctor", "--json=yes"], "--json takes no value, got 'yes'"],
  [["doctor", "now"], "doctor takes options only, got 'now'; see --help"],
  [
    ["doctor", "--kernels=fast"],
    "--kernels must be auto, tiled, subgroup or subgroup:RxC (a register tile, as in subgroup:32x8), got 'fast'",
  ],
  [["train", "--modle=colar"], "Unknown option '--modle' (did you mean '--model'?)"],
  [
    ["train", "--model=colr", "--print_config"],
    `Unknown model 'colr'. configs/models/ has: ${MODELS}`,
  ],
  [
    ["train", "--print_config"],
    "train needs --model, as in --model=colar; configs/models/ has them",
  ],
  [
    ["train", "--model=cot", "--devices=0,1"],
    "--devices must be 0 or 1, one process uses one GPU; got '0,1'",
  ],
  [
    ["train", "--model=cot", "--print_config", "lora_alfa=3"],
    "Unknown config key 'lora_alfa' (did you mean 'lora_alpha'?)",
  ],
  [
    ["train", "--model=cot", "--print_config", "--seed=x"],
    "seed must be an integer from 0, got 'x'",
  ],
  [
    ["train", "--model=cot", "--print_config", "now"],
    "Argument 'now' must be key=value, as in batch_size=8",
  ],
  [
    ["train", "--resume_ckpt_path=x", "--load_ckpt_path=y"],
    "--resume_ckpt_path goes on with a run, " +
    "--load_ckpt_path and --load_adapter begin one; give one of them",
  ],
  [
    ["train", "--model=cot", "--test_ckpt_path=x"],
    "--test_ckpt_path trains nothing; say ./denow task test --ckpt=x",
  ],
  [
    ["doctor", "--model_id=assets/nano", "--length=x"],
    "--length must be an integer from 1, got 'x'",
  ],
  [["export", "--ckpt=x"], "export needs --ckpt=CHECKPOINT and --format=peft or merged"],
  [["test"], "test needs --ckpt=CHECKPOINT; see --help"],
  [["report"], "report needs folders of runs, as in logs/colar/arith/*; see --help"],
  [
    ["report", "assets/nano"],
    'no run in "assets/nano": a run\'s folder has a train.json or a test.json; name folders below logs/',
  ],
  [
    ["data", "--dataset=arth"],
    "Unknown dataset 'arth'. configs/datasets/ has: " + (await configNames("datasets")).join(", "),
  ],
  [
    ["data", "--dataset=svamp", "source=none.json"],
    "source: no file or folder 'none.json', and no set of the Hub, which is owner/name; " +
    "configs/datasets has examples",
  ],
  [["push", "--ckpt=x"], "push needs --ckpt=CHECKPOINT and --repo=OWNER/NAME; see --help"],
  [
    ["push", "--ckpt=x", "--repo=tiny"],
    "--repo must be owner/name, as in --repo=me/colar-arith, got 'tiny'",
  ],
  [
    ["push", "--ckpt=x", "--repo=me/tiny"],
    "push needs a token that may write; set HF_TOKEN to one of your account's",
  ],
];
for (const [args, message] of mistakes) {
  gpuTest(`main.ts ${args.join(" ")}: one line, exit code 2`, async () => {
    assert.deepEqual(await run(...args), { code: 2, out: "", errors: message });
  });
}

gpuTest("main.ts test --ckpt: a path that holds no checkpoint", async () => {
  const { code, errors } = await run("test", "--ckpt=nowhere/last");
  assert.equal(code, 2);
  assert.match(errors, /^no checkpoint .*nowhere\/last.*; name a folder that a run saved/);
});

Deno.test("main.ts train --print_config: every key, as a run would have it", async () => {
  const args = ["--model=colar", "--seed=7", "--test_times=2", "lr=1e-3", "lr=2e-3"];
  const { code, out } = await run("train", "--print_config", ...args);
  assert.equal(code, 0);
  const { config } = await restoreConfig(out);
  assert.deepEqual([config.seed, config.evaluation.test_times], [7, 2]);
  assert.equal(config.model.training_kwargs.optimizer.lr, 2e-3);
});

const AGAIN = ["--test_times=1", "--log_suffix=again"];

gpuTest("main.ts train, then test --ckpt: from a command line to a table", async (gpu) => {
  await inWorkspace(gpu, async (workspace, model) => {
    // Named kernels: nothing is measured, and nothing is said about it.
    const kernels = `--kernels=${gpu.isSoftware ? "subgroup" : "tiled"}`;
    const place = `--workspace_path=${workspace}`;
    const train = await run("train", "--model=cot", kernels, place, `model_id=${model}`, ...QUICK);
    assert.deepEqual([train.code, train.errors], [0, ""]);
    const [, folder] = /\nlogs: (.*)\n/.exec(train.out)!;
    const ckpt = `--ckpt=${join(folder, "checkpoints/last")}`;
    const { code, out } = await run("test", ckpt, kernels, place, ...AGAIN);
    assert.equal(code, 0);
    assert.match(out, /\n +greedy +#L +drawn, 1 seed +#L\ncot +\d/);
    assert.match(out, /\nlogs: .*-again$/);
  });
});

Deno.test({
  name: "main.ts doctor --json: what this machine is",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const { code, out, errors } = await run("doctor", "--json");
    const facts: Facts & { problems: Problem[] } = JSON.parse(out);
    assert.equal(errors, "");
    assert.equal(code, 0, `no adapter: ${facts.adapterError}`);
    assert.equal(facts.deno, Deno.version.deno);
    assert.match(facts.adapter!.kernels, /^(subgroup|tiled)/);
    assert.match(facts.adapter!.kernelOrigin, /^(default|remembered)$/);
    const speeds = facts.adapter!.speeds.map(({ gflops, gigabytes }) => gflops ?? gigabytes ?? 0);
    assert.ok(speeds.length === 6 && speeds.every((s) => s > 0.01 && s < 1e6), `${speeds}`);
    assert.ok(facts.problems.every(({ what, remedy }) => what !== "" && remedy !== ""));
  },
});
