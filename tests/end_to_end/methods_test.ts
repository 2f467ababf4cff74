/** The command line, method by method: two steps of training, the test, and the test of what was saved. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { readCheckpoint } from "../../io/checkpoint.ts";
import { configNames } from "../../io/config.ts";
import { loadSafetensors } from "../../io/safetensors.ts";
import { main } from "../../main.ts";
import { gpuTest } from "../check_op.ts";
import { captured, inWorkspace } from "../training/tiny_model.ts";

const TINY =
  "n_train=4 n_val=2 n_test=3 batch_size=2 max_steps=2 epoch_scaling=1 max_new_tokens=4 test_times=1"
    .split(" ");

/** What each method needs besides, and its latents: none, a number that is fixed, or as many as it draws. */
const METHODS: Record<string, { more: string[]; latents: "none" | "fixed" | "drawn" }> = {
  cot: { more: [], latents: "none" },
  icot: { more: ["start=none"], latents: "none" },
  coconut: { more: ["start=none"], latents: "fixed" },
  distill: { more: ["start=none"], latents: "fixed" },
  codi: { more: ["start=none"], latents: "fixed" },
  colar: {
    more: ["start=none", "max_n_latent_forward=3", "lp_intermediate_size=8"],
    latents: "drawn",
  },
};

/** Runs command lines in a workspace and expects them to do what they are told. */
function commandLine(isSoftware: boolean, workspace: string) {
  const kernels = `--kernels=${isSoftware ? "subgroup" : "tiled"}`; // named: nothing is measured
  const places = [`--workspace_path=${workspace}`, kernels];
  return async (...args: string[]) => {
    const { result, out, errors } = await captured(() => main([...args, ...places]));
    return { code: result, out, errors };
  };
}

/** The checkpoint that a run says to test. */
function checkpointOf(out: string): string {
  return /\ntest: \.\/denow task test --ckpt=(.*)$/.exec(out)![1];
}

Deno.test("command line: the methods tested here are all there are", async () => {
  assert.deepEqual(Object.keys(METHODS).sort(), await configNames("models"));
});

for (const [model, { more, latents }] of Object.entries(METHODS)) {
  gpuTest(`command line: ${model} trains two steps, is tested, and tested again`, async (gpu) => {
    await inWorkspace(gpu, async (workspace, folder) => {
      const run = commandLine(gpu.isSoftware, workspace);
      const settings = [`model_id=${folder}`, ...TINY, ...more];
      const train = await run("train", `--model=${model}`, "--do_test", ...settings);
      assert.deepEqual([train.code, train.errors], [0, ""]);
      assert.match(train.out, new RegExp(`\ntrain ${model} on arith: 4 rows, 2 steps of 2, `));
      assert.match(train.out, /\n +greedy +#L +drawn, 1 seed +#L\n/);
      const ckpt = checkpointOf(train.out);
      assert.equal((await readCheckpoint(ckpt)).state.step, 2);
      const file = join(workspace, "latents.safetensors");
      const again = ["test", `--ckpt=${ckpt}`, "--no_log"];
      const test = await run(...again, `--save_latents=${file}`);
      if (latents === "none") {
        const reason =
          "--save_latents: this method has no latents; it reasons in text or not at all";
        assert.deepEqual([test.code, test.errors], [2, reason]);
        assert.equal((await run(...again)).code, 0);
        return;
      }
      assert.deepEqual([test.code, test.errors], [0, ""]);
      const tensors = await loadSafetensors(file);
      const gaussian = latents === "drawn" ? ["mean", "sigma", "stop_log_prob"] : [];
      for (const kind of ["greedy", "drawn"]) {
        const { data: offsets } = tensors.get(`${kind}.offsets`)!;
        assert.ok(offsets.length === 4 && offsets[3] >= 3, `${offsets}`);
        for (const name of ["latents", "hidden.1", ...gaussian]) {
          const { shape, data } = tensors.get(`${kind}.${name}`)!;
          assert.deepEqual(shape, name === "stop_log_prob" ? [offsets[3]] : [offsets[3], 16]);
          assert.ok(data.every(Number.isFinite), name);
        }
      }
      assert.equal(tensors.size, 2 * (3 + gaussian.length));
      if (latents === "fixed") await think(run, ckpt, model, file);
      if (model === "colar") await reinforce(run, ckpt, settings);
    });
  });
}

/** The model decides how many latents it needs, at each of two speeds; its latents are kept at the first. */
async function think(
  run: ReturnType<typeof commandLine>,
  ckpt: string,
  model: string,
  file: string,
) {
  const thinking = ["n_latent_forward=null", "max_n_latent_forward=2", "compression_factor=2,auto"];
  const test = ["test", `--ckpt=${ckpt}`, "--no_log"];
  const { code, out, errors } = await run(...test, ...thinking, `--save_latents=${file}`);
  assert.deepEqual([code, errors], [0, ""]);
  assert.match(out, new RegExp(`\n${model}, speed 2 .*\n${model}, speed auto `));
  const tensors = await loadSafetensors(file);
  const { data: offsets } = tensors.get("greedy.offsets")!;
  assert.ok([...offsets].every((end, i) => i === 0 || [1, 2].includes(end - offsets[i - 1])));
  assert.deepEqual(tensors.get("greedy.stop_log_prob")!.shape, [offsets[3]]);
  assert.equal(tensors.size, 2 * 4);
  if (model === "codi") return; // it has no latents that see only themselves
  const blind = await run(...test, "cache_in_latent_loop=False", "n_latent_forward=null");
  assert.equal(blind.code, 2);
  assert.match(
    blind.errors,
    /^n_latent_forward must be trained or an integer from 1 with cache_in/,
  );
}

/** Reinforcement goes on from what CoLaR's supervised stage left; here with the rare switches on. */
async function reinforce(
  run: ReturnType<typeof commandLine>,
  ckpt: string,
  settings: readonly string[],
) {
  const rl = "do_rl=True n_train_samples_per_epoch=4 group_size=2 exp_batch_size=4 " +
    "random_speed_in_group=True average_per_token_loss=False latent_logprob=sum";
  const train = ["train", "--model=colar", `--load_ckpt_path=${ckpt}`, "--do_test"];
  const { code, out, errors } = await run(...train, ...settings, ...rl.split(" "));
  assert.deepEqual([code, errors], [0, ""]);
  assert.match(out, /\ntrain colar on arith: 4 rows, 2 steps of 2 questions x 2 samples, /);
  assert.equal((await run("test", `--ckpt=${checkpointOf(out)}`, "--no_log")).code, 0);
}

gpuTest("command line: what --save_latents cannot do is told in one line", async (gpu) => {
  await inWorkspace(gpu, async (workspace, folder) => {
    const run = commandLine(gpu.isSoftware, workspace);
    const { out } = await run("train", "--model=colar", `model_id=${folder}`, ...TINY, ...[
      ...METHODS.colar.more,
    ]);
    const test = ["test", `--ckpt=${checkpointOf(out)}`, "--no_log"];
    const mistakes: [string[], string][] = [
      [
        ["--save_latents=nowhere/a.safetensors"],
        "--save_latents=nowhere/a.safetensors: no folder nowhere; make it first",
      ],
      [
        ["--latent_layers=1"],
        "--latent_layers says what --save_latents=FILE holds; give that too",
      ],
      [
        [`--save_latents=${workspace}/a`, "--latent_layers=0"],
        "--latent_layers must be blocks from 1, as in 4,8; got '0'",
      ],
      [
        [`--save_latents=${workspace}/a`, "--latent_layers=1,2"],
        "latent_layers must be integers from 1 to 1, got 2",
      ],
    ];
    for (const [more, message] of mistakes) {
      const { code, errors } = await run(...test, ...more);
      assert.deepEqual([code, errors], [2, message]);
    }
  });
});
