/** The training loop on a small made-up method: order, resuming, ends, and what it refuses. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Gpu } from "../../gpu/device.ts";
import { checkpointsIn, loadCheckpoint } from "../../io/checkpoint.ts";
import { CheckpointFolder } from "../../io/checkpoint_folder.ts";
import type { Config } from "../../io/config.ts";
import { TooLongError } from "../../llm/positions.ts";
import { readTensors, writeTensors } from "../../training/tensors.ts";
import { train, type TrainOptions } from "../../training/trainer.ts";
import { gpuTest } from "../check_op.ts";
import { fakeConfig, fakeMethod, type FakeOptions, fakeRows, quietReport } from "./fake_method.ts";

const dataset = { train: fakeRows(18), val: fakeRows(9) }; // an epoch: four batches of 4 and one of 2

/** Trains in a folder, from its last checkpoint if it has one, as a new process would. */
async function run(
  gpu: Gpu,
  config: Config,
  folder: string,
  more: Partial<TrainOptions> & { readonly fake?: FakeOptions } = {},
) {
  using method = fakeMethod(gpu, more.fake);
  const checkpoints = await CheckpointFolder.open(folder);
  const hasLast = (await checkpointsIn(folder)).includes("last");
  const path = checkpoints.last;
  const resume = hasLast ? { path, checkpoint: await loadCheckpoint(path) } : undefined;
  if (resume) writeTensors(gpu, method.parameters, resume, { complete: true });
  const { report, steps, lines } = quietReport();
  const options = { gpu, method, config, dataset, report, checkpoints, resume, ...more };
  const result = await train(options).catch((error: Error) => error);
  const tensors = await readTensors(gpu, method.parameters);
  return { result, steps, lines, tensors, start: resume?.checkpoint.state.step ?? 0 };
}

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

gpuTest("train: three epochs, a validation after each, falling losses", async (gpu) => {
  await inFolder(async (folder) => {
    const { result, steps, lines, tensors } = await run(gpu, await fakeConfig("lr=0.2"), folder);
    assert.deepEqual(result, { step: 15, isInterrupted: false });
    const losses = steps.filter((line) => "loss" in line);
    assert.deepEqual(losses.map(({ step }) => step), Array.from({ length: 15 }, (_, i) => i + 1));
    assert.deepEqual(Object.keys(losses[0]), [
      ...["step", "loss", "w_loss", "b_loss", "lr", "epoch", "tokens"],
    ]);
    assert.deepEqual(losses.map(({ epoch }) => epoch), [0, 1, 2].flatMap((e) => Array(5).fill(e)));
    assert.ok((losses[14].loss as number) < 0.7 * (losses[0].loss as number));
    const validations = steps.filter((line) => "val/acc" in line);
    assert.deepEqual(validations.map(({ step }) => step), [5, 10, 15]);
    assert.deepEqual(Object.keys(validations[0]).slice(1), [
      "val/acc",
      "val/n_latent_forward",
      "val/n_latent_forward_on_acc",
      "val/output_length",
      "val/acc_speed5",
      "val/n_latent_forward_speed5",
      "val/n_latent_forward_on_acc_speed5",
      "val/output_length_speed5",
    ]);
    assert.equal(lines.length, 3);
    assert.match(
      lines[0],
      /^step 5, 9 validation questions: speed 2: acc [\d.]+ %, #L 3\.0; speed 5/,
    );
    const last = await loadCheckpoint(join(folder, "last"));
    assert.deepEqual(last.tensors, tensors);
    assert.equal(last.optimizer?.step, 15);
    assert.equal(last.monitor, validations[2]["val/acc"]);
  });
});

gpuTest(
  "train: resumed after a kill at any step, losses and weights are the same bit for bit",
  async (gpu) => {
    const config = await fakeConfig("accumulate_grad_batches=2", "gradient_clip_val=0.5");
    let whole: Awaited<ReturnType<typeof run>> | undefined;
    await inFolder(async (folder) => void (whole = await run(gpu, config, folder)));
    assert.deepEqual(whole!.result, { step: 9, isInterrupted: false });
    for (let kill = 1; kill <= 9; kill++) {
      await inFolder(async (folder) => {
        const onStep = (step: number) => {
          if (step === kill) throw new Error("killed");
        };
        const killed = await run(gpu, config, folder, { onStep });
        assert.equal((killed.result as Error).message, "killed");
        const { result, steps, tensors, start } = await run(gpu, config, folder);
        assert.equal(start, 3 * Math.floor((kill - 1) / 3), "the last checkpoint");
        assert.deepEqual(result, whole!.result);
        assert.deepEqual(steps, whole!.steps.filter(({ step }) => (step as number) > start));
        assert.deepEqual(tensors, whole!.tensors);
      });
    }
  },
);

gpuTest(
  "train: a signal saves `last` at that step, and the run goes on from there",
  async (gpu) => {
    const config = await fakeConfig("schedule=linear", "warmup_steps=3");
    let whole: Awaited<ReturnType<typeof run>> | undefined;
    await inFolder(async (folder) => void (whole = await run(gpu, config, folder)));
    for (const stop of [1, 5, 7, 15]) {
      await inFolder(async (folder) => {
        const controller = new AbortController();
        const onStep = (step: number) => step === stop && controller.abort();
        const { signal } = controller;
        const stopped = await run(gpu, config, folder, { onStep, signal });
        assert.deepEqual(stopped.result, { step: stop, isInterrupted: true });
        const rest = await run(gpu, config, folder);
        assert.equal(rest.start, stop);
        assert.deepEqual([...stopped.steps, ...rest.steps], whole!.steps);
        assert.deepEqual(rest.tensors, whole!.tensors);
        assert.deepEqual((await run(gpu, config, folder)).steps, [], "nothing is left to do");
      });
    }
  },
);

gpuTest(
  "train: an epoch whose validation fails is saved, and the run goes on from it",
  async (gpu) => {
    const config = await fakeConfig();
    let whole: Awaited<ReturnType<typeof run>> | undefined;
    await inFolder(async (folder) => void (whole = await run(gpu, config, folder)));
    await inFolder(async (folder) => {
      using method = fakeMethod(gpu);
      const answer = () => Promise.reject(new TooLongError(1, 9, "is too long"));
      const failed = await run(gpu, config, folder, { method: { ...method, answer } });
      assert.equal((failed.result as Error).message, "question 1 is too long");
      assert.equal((await loadCheckpoint(join(folder, "last"))).state.step, 5);
      const rest = await run(gpu, config, folder);
      assert.equal(rest.start, 5);
      assert.deepEqual(rest.tensors, whole!.tensors);
      assert.deepEqual([...failed.steps, ...rest.steps], whole!.steps, "validated again");
    });
  },
);

gpuTest("train: a row that fails a step costs none of the steps before it", async (gpu) => {
  const config = await fakeConfig();
  let whole: Awaited<ReturnType<typeof run>> | undefined;
  await inFolder(async (folder) => void (whole = await run(gpu, config, folder)));
  for (const failing of [0, 7]) {
    await inFolder(async (folder) => {
      using method = fakeMethod(gpu);
      const loss: typeof method.loss = (g, rows, draw) => {
        if (draw.step === failing) throw new TooLongError(1, rows.length, "is too long");
        return method.loss(g, rows, draw);
      };
      const failed = await run(gpu, config, folder, { method: { ...method, loss } });
      assert.match((failed.result as Error).message, /^training row \d+ is too long$/);
      const rest = await run(gpu, config, folder);
      assert.equal(rest.start, failing);
      assert.deepEqual(rest.tensors, whole!.tensors);
      assert.deepEqual([...failed.steps, ...rest.steps], whole!.steps);
    });
  }
});

gpuTest("train: accumulated batches are averaged, and an epoch ends with a step", async (gpu) => {
  const norms: number[] = [];
  for (const count of [1, 2]) {
    await inFolder(async (folder) => {
      const changes = [`accumulate_grad_batches=${count}`, "gradient_clip_val=1e9"];
      const { steps } = await run(gpu, await fakeConfig(...changes), folder);
      const losses = steps.filter((line) => "loss" in line);
      norms.push(losses[0].grad_norm as number);
      // Five batches an epoch: steps of 2, 2 and 1.
      const tokens = count === 1 ? Array(15).fill(7) : [14, 14, 7, 14, 14, 7, 14, 14, 7];
      assert.deepEqual(losses.map((line) => line.tokens), tokens);
    });
  }
  // Batches differ by a twentieth; a sum would be twice as long.
  assert.ok(Math.abs(norms[1] / norms[0] - 1) < 0.1, `${norms}`);
});

gpuTest(
  "train: a loss that is no number ends the run, names the step and keeps checkpoints",
  async (gpu) => {
    await inFolder(async (folder) => {
      const { result } = await run(gpu, await fakeConfig(), folder, { fake: { badBatch: 7 } });
      assert.ok(result instanceof RangeError);
      assert.equal(
        result.message,
        `step 8: loss is NaN; checkpoints of earlier steps stay in ${folder}; ` +
          "set a smaller lr or gradient_clip_val=1 and start again",
      );
      assert.equal((await loadCheckpoint(join(folder, "last"))).state.step, 5);
    });
  },
);

gpuTest(
  "train: a row that the model cannot place is named by its number in the data",
  async (gpu) => {
    await inFolder(async (folder) => {
      using method = fakeMethod(gpu);
      const loss = (_: unknown, rows: readonly { readonly answer: string }[]) => {
        const at = rows.findIndex(({ answer }) => answer === "13");
        if (at >= 0) throw new TooLongError(at, rows.length, "is too long");
        return method.loss(...([_, rows, { seed: 0, step: 0 }] as Parameters<typeof method.loss>));
      };
      const { result } = await run(gpu, await fakeConfig(), folder, {
        method: { ...method, loss },
      });
      assert.equal((result as Error).message, "training row 13 is too long");
    });
  },
);

gpuTest(
  "train: the best three stay besides the last; a loss past the last validation is found too",
  async (gpu) => {
    await inFolder(async (folder) => {
      await run(gpu, await fakeConfig("max_epochs=6"), folder);
      const names = await checkpointsIn(folder);
      assert.equal(names.length, 4);
      assert.ok(names.includes("last"));
    });
    await inFolder(async (folder) => {
      const config = await fakeConfig("max_steps=12");
      const { result } = await run(gpu, config, folder, { fake: { badBatch: 11 } });
      assert.match((result as Error).message, /^step 12: loss is NaN/);
      assert.equal((await loadCheckpoint(join(folder, "last"))).state.step, 10);
    });
  },
);

gpuTest("train: validation every second epoch, and at the end in any case", async (gpu) => {
  await inFolder(async (folder) => {
    const { steps } = await run(gpu, await fakeConfig("check_val_every_n_epoch=2"), folder);
    const validations = steps.filter((line) => "val/acc" in line);
    assert.deepEqual(validations.map(({ step }) => step), [10, 15]);
  });
});

gpuTest(
  "train: a monitor that no validation gives is refused before the first step",
  async (gpu) => {
    await inFolder(async (folder) => {
      const { result, steps } = await run(gpu, await fakeConfig("monitor=accuracy"), folder);
      assert.match(
        (result as Error).message,
        /^monitor must be one of acc, .*acc_speed5.*, got 'accuracy'$/,
      );
      assert.deepEqual(steps, []);
    });
  },
);

gpuTest("train: a checkpoint without its optimizer cannot be resumed", async (gpu) => {
  const tensors = new Map();
  const checkpoint = { tensors, state: { epoch: 0, step: 0 }, config: {} };
  const resume = { path: "logs/x", checkpoint };
  const before = gpu.pool.memory.inUse;
  await inFolder(async (folder) => {
    const { result } = await run(gpu, await fakeConfig(), folder, { resume });
    assert.equal(
      (result as Error).message,
      "'logs/x' has no optimizer to go on with; start from it with --load_ckpt_path",
    );
  });
  assert.equal(gpu.pool.memory.inUse, before);
});
