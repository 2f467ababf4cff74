/** Runs that may not fit their device: what is compared, what is told, and when nothing is. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { arithDataset } from "../../data/arith.ts";
import { BatchStream } from "../../data/batch.ts";
import type { QsaRow } from "../../data/qsa.ts";
import type { Gpu } from "../../gpu/device.ts";
import { type Config, resolveConfig } from "../../io/config.ts";
import { loadModel, readModelConfig } from "../../io/load_model.ts";
import { loadTokenizer } from "../../io/tokenizer.ts";
import { Cot } from "../../models/cot.ts";
import { addPadRow } from "../../models/vocabulary.ts";
import { planStep } from "../../training/memory_plan.ts";
import { memoryWarning } from "../../training/memory_warning.ts";
import { trainRun } from "../../training/run.ts";
import { onCard } from "../card.ts";
import { gpuTest } from "../check_op.ts";
import { captured, inWorkspace, QUICK } from "./tiny_model.ts";

const { train: ROWS } = arithDataset({ train: 60, val: 1, test: 1 }, "arith");

async function configOf(model: string, ...overrides: string[]): Promise<Config> {
  return (await resolveConfig({ model, overrides: ["batch_size=4", ...overrides] })).config;
}

/** What is told where so much is free. */
async function told(
  gpu: Gpu,
  folder: string,
  config: Config,
  bytes: number,
  rows: readonly QsaRow[] = ROWS,
): Promise<string | undefined> {
  return await memoryWarning({ device: gpu, config, folder, rows }, { bytes, origin: "here" });
}

/** The bytes that a warning says a step takes. */
const bytesIn = (line: string | undefined) => Number(/ take (\d+) bytes, /.exec(line!)![1]);

/** The most tokens of a batch of a run's first steps, as CoT lays them out. */
async function mostTokens(gpu: Gpu, folder: string, config: Config, numBatches: number) {
  const options = config.model.model_kwargs;
  const tokenizer = await loadTokenizer(folder, options.separator_tokens);
  const backbone = await loadModel(gpu, folder);
  using _weights = backbone.weights;
  await addPadRow(backbone, tokenizer, 0, "mean");
  const context = { gpu, backbone, tokenizer, options, reasoningLength: "exact", seed: 0 } as const;
  using cot = new Cot(context);
  const stream = new BatchStream({ numRows: ROWS.length, batchSize: 4, seed: config.seed });
  const counts = Array.from({ length: numBatches }, () => {
    const { ids } = cot.batch(Array.from(stream.next().rows, (row) => ROWS[row]));
    return ids.filter((id) => id !== tokenizer.padId).length;
  });
  return Math.max(...counts);
}

gpuTest(
  "memoryWarning(): the heaviest batch of the run, what it takes and what is free",
  async (gpu) => {
    await inWorkspace(gpu, async (_, folder) => {
      for (
        const [more, numBatches] of [[[], 15], [
          ["max_steps=1", "accumulate_grad_batches=2"],
          2,
        ]] as const
      ) {
        const config = await configOf("cot", "do_lora=True", "r=3", ...more);
        const line = await told(gpu, folder, config, 1000);
        const numTokens = await mostTokens(gpu, folder, config, numBatches);
        const most = new RegExp(
          `^Warning: a training step may not fit: by the plan 4 rows, ${numTokens} tokens, take \\d+ bytes, ` +
            "1000 bytes are available \\(here\\); set activation_checkpointing=True \\(0\\.00 GiB\\), " +
            "or a smaller batch_size \\(accumulate_grad_batches adds batches up\\)$",
        );
        assert.match(line!, most);
        const bytes = bytesIn(line);
        assert.equal(bytesIn(await told(gpu, folder, config, bytes - 1)), bytes);
        assert.equal(await told(gpu, folder, config, bytes), undefined, "it fits");
      }
    });
  },
);

gpuTest("memoryWarning(): it is the run's own step that is planned", async (gpu) => {
  await inWorkspace(gpu, async (_, folder) => {
    const rows = ROWS.slice(0, 1);
    const line = async (...more: string[]) =>
      (await told(gpu, folder, await configOf("cot", ...more), 1000, rows))!;
    const lora = ["do_lora=True", "r=3"];
    const plain = await line(...lora);
    const [, numTokens] = / 1 rows, (\d+) tokens, /.exec(plain)!;
    const own = await configOf("cot", ...lora);
    const planned = { config: await readModelConfig(folder), storedAs: () => "F32", device: gpu };
    const step = { lengths: [Number(numTokens)], options: own.model.model_kwargs };
    const { bytes } = planStep(planned, { ...step, checkpointed: false });
    assert.equal(bytesIn(plain), bytes);
    assert.ok(bytesIn(await line(...lora, "r=300")) > bytes);
    assert.ok(bytesIn(await line(...lora, "target_modules=all-linear")) > bytes);
    assert.ok(bytesIn(await line("do_lora=False")) > bytes);
    const checkpointed = await line(...lora, "activation_checkpointing=True", "batch_size=1");
    assert.equal(bytesIn(checkpointed), planStep(planned, { ...step, checkpointed: true }).bytes);
    assert.notEqual(bytesIn(checkpointed), bytes);
    assert.match(checkpointed, /; set a smaller model$/);
    assert.match(await line("do_lora=False", "batch_size=1"), /; set do_lora=True, or activation_/);
    // A row longer than the model's positions is refused by its name later on.
    const long = [{ ...rows[0], question: "why? ".repeat(1000) }];
    assert.match((await told(gpu, folder, own, 1000, long))!, / 1 rows, 512 tokens, /);
  });
});

gpuTest("memoryWarning(): what a method cannot have is not recommended", async (gpu) => {
  await inWorkspace(gpu, async (_, folder) => {
    const coconut = await configOf("coconut", "do_lora=True");
    assert.match(
      (await told(gpu, folder, coconut, 1000))!,
      /\(here\); set a smaller batch_size \(/,
    );
    const rl = ["do_lora=True", "do_rl=True", "exp_batch_size=2", "batch_size=60"];
    assert.match(
      (await told(gpu, folder, await configOf("colar", ...rl), 1000))!,
      / by the plan 2 rows, .*; set activation_checkpointing=True \(.*\), or a smaller exp_batch_size$/,
    );
  });
});

gpuTest(
  "memoryWarning(): beside much free memory a model costs a look at its header",
  async (gpu) => {
    await inWorkspace(gpu, async (_, folder) => {
      await Deno.remove(join(folder, "tokenizer.json"));
      const config = await configOf("cot");
      await assert.rejects(told(gpu, folder, config, 1000), /tokenizer\.json/);
      assert.equal(await told(gpu, folder, config, 2 ** 40), undefined);
      // Nobody knows what is free: not even that.
      await onCard(gpu, NaN, async (device) => {
        const request = { device, config, folder: "nowhere", rows: ROWS };
        assert.equal(await memoryWarning(request), undefined);
      });
    });
  },
);

gpuTest(
  "run: a step that may not fit is told before the model is loaded, and logged",
  async (gpu) => {
    await inWorkspace(gpu, async (workspace, model) => {
      const overrides = [`model_id=${model}`, ...QUICK];
      const request = { model: "cot", workspace, overrides };
      await onCard(gpu, 0.5, async (card) => {
        const { result, out } = await captured(() => trainRun(card, request));
        const warning =
          /\n(Warning: a training step may not fit: by the plan 4 rows, .* bytes are available \(COLAR_GPU_MEMORY\); set .*)\ntrain cot on /
            .exec(out);
        assert.ok(warning, out);
        const log = await Deno.readTextFile(join(result.folder!, "logs.txt"));
        assert.equal(log.split(warning[1]).length, 2, "it is in the log once");
      });
      await onCard(gpu, 1 / 1024, async (card) => {
        const { out } = await captured(() =>
          assert.rejects(trainRun(card, request), /its weights take \d+ bytes on the device/)
        );
        assert.match(out, /\nWarning: a training step may not fit: .*$/, "told before loading");
      });
      await onCard(gpu, 100, async (card) => {
        const { out } = await captured(() => trainRun(card, request));
        assert.doesNotMatch(out, /Warning/);
      });
    });
  },
);
