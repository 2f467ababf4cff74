/** Whole runs of reinforcement on a tiny CoLaR: killed, stopped and resumed they repeat the uninterrupted run. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Gpu } from "../../gpu/device.ts";
import { checkpointsIn, loadCheckpoint } from "../../io/checkpoint.ts";
import { CheckpointFolder } from "../../io/checkpoint_folder.ts";
import { type Config, resolveConfig } from "../../io/config.ts";
import type { Colar } from "../../models/colar.ts";
import { configureRun, type RunRequest } from "../../training/configure.ts";
import { trainRun } from "../../training/run.ts";
import { readTensors, writeTensors } from "../../training/tensors.ts";
import { train, type TrainOptions } from "../../training/trainer.ts";
import { gpuTest } from "../check_op.ts";
import { likelyColar, sixRows } from "../models/tiny_method.ts";
import { fakeMethod, quietReport } from "./fake_method.ts";
import { captured, inWorkspace, QUICK, QUICK_COLAR } from "./tiny_model.ts";

/** A method whose one-token answer is now and then 7. */
function guessing(gpu: Gpu): Promise<Colar> {
  const changes = { do_rl: true, max_n_latent_forward: 4, max_new_tokens: 1 };
  return likelyColar(
    gpu,
    changes,
    (tokenizer) => [tokenizer.separatorId, ...tokenizer.encode("7")],
  );
}

async function rlConfig(...overrides: string[]): Promise<Config> {
  const small = ["max_steps=null", "max_epochs=2", "epoch_scaling=1", "batch_size=2", "lr=1e-3"];
  const rl = ["do_rl=True", "n_train_samples_per_epoch=5", "group_size=4", "exp_batch_size=3"];
  const { config } = await resolveConfig({
    model: "colar",
    overrides: [...small, ...rl, "compression_factor=5", "val_batch_size=8", ...overrides],
  });
  return config;
}

async function dataset() {
  const rows = (await sixRows()).map((row) => ({ ...row, answer: "7" }));
  return { train: rows, val: rows.slice(0, 2) };
}

/** Trains in a folder, from its last checkpoint if it has one, as a new process would. */
async function run(gpu: Gpu, config: Config, folder: string, more: Partial<TrainOptions> = {}) {
  using method = await guessing(gpu);
  const checkpoints = await CheckpointFolder.open(folder);
  const hasLast = (await checkpointsIn(folder)).includes("last");
  const path = checkpoints.last;
  const resume = hasLast ? { path, checkpoint: await loadCheckpoint(path) } : undefined;
  if (resume) writeTensors(gpu, method.parameters, resume, { complete: true });
  const { report, steps, lines } = quietReport();
  const common = { gpu, method, config, dataset: await dataset(), report, checkpoints, resume };
  const result = await train({ ...common, ...more }).catch((error: Error) => error);
  const tensors = await readTensors(gpu, method.parameters);
  return { result, steps, lines, tensors };
}

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    return await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

gpuTest("reinforcement: killed or stopped at any step it goes on bit for bit", async (gpu) => {
  const config = await rlConfig();
  const whole = await inFolder((folder) => run(gpu, config, folder));
  assert.deepEqual(whole.result, { step: 6, isInterrupted: false });
  const learned = whole.steps.filter((line) => "reward" in line);
  assert.deepEqual(Object.keys(learned[0]), [
    ...["step", "loss", "latent_loss", "answer_loss", "decision_loss", "grad_norm", "reward"],
    ...["acc", "n_latent_forward", "output_length", "advantage_size", "groups_with_advantage"],
    ...["lr", "epoch", "tokens"],
  ]);
  assert.ok(learned.some(({ grad_norm }) => (grad_norm as number) > 0), "something is learned");
  for (const [kill, begin] of [[2, 0], [5, 3]]) {
    await inFolder(async (folder) => {
      const onStep = (step: number) => {
        if (step === kill) throw new Error("killed");
      };
      const killed = await run(gpu, config, folder, { onStep });
      assert.equal((killed.result as Error).message, "killed");
      const { result, steps, tensors } = await run(gpu, config, folder);
      assert.deepEqual(result, whole.result);
      assert.deepEqual(steps, whole.steps.filter(({ step }) => (step as number) > begin));
      assert.deepEqual(tensors, whole.tensors);
    });
  }
  await inFolder(async (folder) => {
    const controller = new AbortController();
    const onStep = (step: number) => step === 4 && controller.abort();
    const stopped = await run(gpu, config, folder, { onStep, signal: controller.signal });
    assert.deepEqual(stopped.result, { step: 4, isInterrupted: true });
    const rest = await run(gpu, config, folder);
    assert.deepEqual([...stopped.steps, ...rest.steps], whole.steps);
    assert.deepEqual(rest.tensors, whole.tensors);
  });
});

gpuTest("reinforcement: a signal in the middle of a rollout takes the step back", async (gpu) => {
  const config = await rlConfig("val_batch_size=4");
  await inFolder(async (folder) => {
    using method = await guessing(gpu);
    const controller = new AbortController();
    let rollouts = 0;
    const policy = {
      parts: method.policy!.parts,
      logProbs: method.policy!.logProbs.bind(method.policy),
      rollout: (...args: Parameters<NonNullable<Colar["policy"]>["rollout"]>) => {
        if (++rollouts === 3) controller.abort(); // the first of step 2
        return method.policy!.rollout(...args);
      },
    };
    const { signal } = controller;
    const interrupted = new Proxy(method, {
      get: (target, key) => key === "policy" ? policy : Reflect.get(target, key, target),
    });
    const stopped = await run(gpu, config, folder, { method: interrupted, signal });
    assert.deepEqual(stopped.result, { step: 1, isInterrupted: true });
    assert.equal((await loadCheckpoint(join(folder, "last"))).state.batch, 1);
  });
});

gpuTest("reinforcement: the filter's choice is kept for a resumed run", async (gpu) => {
  const config = await rlConfig("filter_dataset=True", "max_epochs=1");
  const whole = await inFolder(async (folder) => {
    const result = await run(gpu, config, folder);
    const { kept } = (await loadCheckpoint(join(folder, "last"))).state;
    return { ...result, kept: kept as number[] };
  });
  assert.ok(whole.kept.length > 0);
  assert.match(whole.lines[0], /^filter_dataset keeps \d of 6 training questions$/);
  await inFolder(async (folder) => {
    const controller = new AbortController();
    const onStep = (step: number) => step === 1 && controller.abort();
    await run(gpu, config, folder, { onStep, signal: controller.signal });
    const rest = await run(gpu, config, folder);
    assert.ok(!rest.lines.some((line) => line.startsWith("filter_dataset")), "searched again");
    assert.deepEqual(rest.tensors, whole.tensors);
  });
  await inFolder(async (folder) => {
    const early = await run(gpu, config, folder, { signal: AbortSignal.abort() });
    assert.deepEqual(early.result, { step: 0, isInterrupted: true });
    assert.deepEqual((await run(gpu, config, folder)).tensors, whole.tensors);
  });
});

gpuTest("reinforcement: a method that was not built for it is refused", async (gpu) => {
  const config = await rlConfig("monitor=acc");
  using method = fakeMethod(gpu);
  const { result } = await inFolder((folder) => run(gpu, config, folder, { method }));
  assert.match(
    (result as Error).message,
    /^models\/colar\.ts was built without a policy, which do_rl=True needs: models\/method\.ts$/,
  );
});

gpuTest(
  "reinforcement: the command begins from a CoLaR, says so without one, and resumes",
  async (gpu) => {
    await inWorkspace(gpu, async (workspace, model) => {
      const request = (...more: string[]): RunRequest => ({
        model: "colar",
        workspace,
        overrides: [`model_id=${model}`, ...QUICK, ...QUICK_COLAR, "start=none", ...more],
      });
      const rl = ["do_rl=True", "batch_size=2", "group_size=2", "n_train_samples_per_epoch=4"];
      await assert.rejects(configureRun(request(...rl)), {
        name: "RangeError",
        message:
          "do_rl=True goes on from a trained model, --load_ckpt_path is not given; train one " +
          "with ./denow task train --model=colar, then name its checkpoint with " +
          "--load_ckpt_path=RUN/checkpoints/last",
      });
      const first = await captured(() => trainRun(gpu, request()));
      const loadPath = join(first.result.folder!, "checkpoints/last");
      const cot = await captured(() =>
        trainRun(gpu, {
          model: "cot",
          workspace,
          overrides: [`model_id=${model}`, ...QUICK, "max_steps=1"],
        })
      );
      await captured(async () => {
        const wrong = join(cot.result.folder!, "checkpoints/last");
        await assert.rejects(trainRun(gpu, { ...request(...rl), loadPath: wrong }), {
          message:
            /^'.*last' was saved from models\/cot\.ts .*: it has not all of this run's tensors/,
        });
      });
      const greedy = { ...request(...rl, "do_sample=False"), loadPath };
      await assert.rejects(configureRun(greedy), /RangeError: do_sample must be True with do_rl/);
      const asked = { ...request(...rl), loadPath };
      const { result: whole, out } = await captured(() => trainRun(gpu, asked));
      assert.match(out, /train colar on arith: 24 rows, 2 steps of 2 questions x 2 samples, /);
      assert.match(out, /\nbegins from .*\/checkpoints\/last\n/);
      const stopped = await captured(() => trainRun(gpu, asked, AbortSignal.abort()));
      const resumePath = join(stopped.result.folder!, "checkpoints/last");
      const { result } = await captured(() => trainRun(gpu, { workspace, resumePath }));
      const [a, b] = await Promise.all(
        [whole, result].map(({ folder }) => Deno.readTextFile(join(folder!, "train.json"))),
      );
      assert.equal(b, a);
      assert.deepEqual(result.best!.checkpoint.tensors, whole.best!.checkpoint.tensors);
    });
  },
);
