/** Whole runs on a tiny random model: what they leave, where they begin, how they go on, and what they refuse. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { checkpointsIn, readCheckpoint } from "../../io/checkpoint.ts";
import { Report } from "../../io/report.ts";
import { configureRun, type RunRequest } from "../../training/configure.ts";
import { trainRun } from "../../training/run.ts";
import { startOf } from "../../training/start.ts";
import type { NamedCheckpoint } from "../../training/tensors.ts";
import { testCheckpoint } from "../../training/test_checkpoint.ts";
import type { TestResults } from "../../training/test_run.ts";
import { gpuTest } from "../check_op.ts";
import { captured, inWorkspace, QUICK, QUICK_COLAR, tinyModel } from "./tiny_model.ts";

const cot = (workspace: string, model: string, ...more: string[]): RunRequest => ({
  model: "cot",
  workspace,
  overrides: [`model_id=${model}`, ...QUICK, ...more],
});

const colar = (workspace: string, model: string, ...more: string[]): RunRequest => ({
  ...cot(workspace, model, ...QUICK_COLAR, ...more),
  model: "colar",
});

async function json(...path: string[]) {
  return JSON.parse(await Deno.readTextFile(join(...path)));
}

gpuTest(
  "run: CoT trains, is tested from its best checkpoint, and leaves everything",
  async (gpu) => {
    await inWorkspace(gpu, async (workspace, model) => {
      const request = { ...cot(workspace, model), doTest: true, suffix: "try" };
      const { result: { folder, best, results }, out } = await captured(() =>
        trainRun(gpu, request)
      );
      assert.match(folder!, /\/logs\/cot\/arith\/\d{8}-\d{6}-[0-9a-f]{6}-try$/);
      const left = new Set([...Deno.readDirSync(folder!)].map(({ name }) => name));
      for (
        const name of ["logs.txt", "train.json", "test.json", "config.yaml", "environment.json"]
      ) {
        assert.ok(left.has(name), name);
      }
      assert.deepEqual(await json(folder!, "test.json"), results);
      assert.equal(results!.checkpoint, best!.path);
      assert.deepEqual(results!.rows.map(({ label }) => label), ["cot, before training", "cot"]);
      assert.equal((await checkpointsIn(join(folder!, "checkpoints"))).length, 3);
      assert.match(out, /^model_id=.* sets model\.model_kwargs\.model_id\n/);
      assert.match(out, /\ntrain cot on arith: 24 rows, 4 steps of 4, \d+ trained numbers, /);
      assert.match(out, /\nlogs: .*-try\ntest: \.\/denow task test --ckpt=.*\/checkpoints\/epoch/);
      const again = await captured(() => testCheckpoint(gpu, { path: best!.path, workspace }));
      const predictions = ({ speeds }: TestResults) =>
        speeds.map(({ greedy, paper }) => [greedy, ...paper!.runs].map((run) => run.predictions));
      assert.deepEqual(predictions(again.result), predictions(results!));
      const batches = { path: best!.path, workspace, noLog: true, overrides: ["val_batch_size=2"] };
      const { result: smaller } = await captured(() => testCheckpoint(gpu, batches));
      assert.deepEqual(predictions(smaller), predictions(results!), "val_batch_size matters");
      const file = join(workspace, "set.json");
      const problem = { Body: "Tom has 2.", Question: "How many?", Equation: "2", Answer: 2 };
      await Deno.writeTextFile(file, JSON.stringify([problem, problem]));
      const other = await captured(() =>
        testCheckpoint(gpu, {
          ...{ path: best!.path, workspace, noLog: true, dataset: "svamp" },
          overrides: [`source=${file}`],
        })
      );
      assert.deepEqual([other.result.dataset, other.result.num_questions], ["svamp", 2]);
      assert.match(
        other.out,
        /svamp: 0 train, 0 val, 2 test rows \(test_split=all\) of .*set\.json\n/,
      );
      assert.match(other.out, /\ntest on 2 questions of svamp \(test_split=all\), accuracy/);
    });
  },
);

gpuTest("run: CoLaR begins from a CoT and is compared with it", async (gpu) => {
  await inWorkspace(gpu, async (workspace, model) => {
    const first = await captured(() => trainRun(gpu, { ...cot(workspace, model), doTest: true }));
    const loadPath = join(first.result.folder!, "checkpoints/last");
    const request = { ...colar(workspace, model), doTest: true, loadPath };
    const { result, out } = await captured(() => trainRun(gpu, request));
    assert.match(out, /begins from .*\/checkpoints\/last; not in it, so new: latent_policy\./);
    assert.deepEqual(result.results!.rows.map(({ label }) => label), [
      ...["cot, before training", "cot", "colar, speed 2, before training"],
      ...["colar, speed 2", "colar, speed 5"],
    ]);
    const { state } = await readCheckpoint(result.best!.path);
    assert.deepEqual(state.names, { model: "colar", dataset: "arith", trainer: "default" });
    // Results on other questions are no comparison.
    const other = { ...request, overrides: [...request.overrides!, "n_test=4"] };
    const { result: { results } } = await captured(() => trainRun(gpu, other));
    assert.ok(results!.rows.every(({ label }) => label.startsWith("colar")));
  });
});

Deno.test("run: start=cot trains a CoT on the same model and data, with its own steps", async () => {
  const arguments_ = [
    ...["model_id=a b", "seed=3", "n_test=7", "max_steps=5", "top_p=0.5", "lr=1"],
    "activation_checkpointing=True",
  ];
  const request = { model: "colar", workspace: ".", overrides: arguments_, doTest: true };
  const { config } = await configureRun(request);
  const asked: RunRequest[] = [];
  const rows = [{ label: "cot" }];
  const best = { path: "c" } as NamedCheckpoint;
  const trained = { best, results: { rows } as unknown as TestResults };
  const start = (isInterrupted: boolean) =>
    captured(() =>
      startOf(request, config, 7, new Report(), (cot) => {
        asked.push(cot);
        return Promise.resolve(
          isInterrupted ? { isInterrupted, folder: "f" } : { isInterrupted, ...trained },
        );
      })
    );
  const { result, out } = await start(false);
  assert.deepEqual(result, { isInterrupted: false, best, compared: rows });
  assert.match(
    out,
    /^colar starts from a trained CoT: training that first \(start=none leaves it out\)$/,
  );
  assert.deepEqual([asked[0].model, asked[0].doTest], ["cot", true]);
  const { config: own } = await configureRun(asked[0]);
  const { config: plain } = await configureRun({ model: "cot", workspace: "." });
  assert.deepEqual(own, {
    ...plain,
    seed: 3,
    trainer: { ...plain.trainer, activation_checkpointing: true },
    data_module: { ...plain.data_module, n_test: 7 },
    model: { ...plain.model, model_kwargs: { ...plain.model.model_kwargs, model_id: "a b" } },
  });
  const { out: hint } = await start(true);
  assert.match(
    hint,
    /\nThen: \.\/denow task train --model=colar --load_ckpt_path=f\/checkpoints\/last$/,
  );
  const none = { ...request, overrides: ["start=none"] };
  const { config: without } = await configureRun(none);
  const reject = () => Promise.reject(new Error("trains a CoT"));
  const { result: nothing, out: told } = await captured(() =>
    startOf(none, without, 7, new Report(), reject)
  );
  assert.deepEqual(nothing, { compared: [] });
  assert.match(told, /^The paper's colar starts from a trained CoT: .*--load_ckpt_path$/);
});

const staged = (model: string) => (...from: Parameters<typeof cot>) => ({ ...cot(...from), model });
const resumed = [
  ["cot", cot],
  ["colar", colar],
  ["icot", staged("icot")],
  ["coconut", staged("coconut")],
  ["distill", staged("distill")],
  ["codi", staged("codi")],
] as const;
for (const [name, request] of resumed) {
  gpuTest(`run: ${name} resumed from its start repeats the whole run bit for bit`, async (gpu) => {
    await inWorkspace(gpu, async (workspace, model) => {
      const start = name === "cot" ? [] : ["start=none"];
      const asked = request(workspace, model, ...start);
      const { result: whole } = await captured(() => trainRun(gpu, asked));
      const stopped = await captured(() => trainRun(gpu, asked, AbortSignal.abort()));
      assert.equal(stopped.result.isInterrupted, true);
      const hint =
        /stopped at step 0; go on with:\n {2}\.\/denow task train (--resume_ckpt_path=(.*))$/;
      const [, , resumePath] = hint.exec(stopped.out)!;
      const { result } = await captured(() => trainRun(gpu, { workspace, resumePath }));
      assert.equal(result.folder, stopped.result.folder);
      const [a, b] = await Promise.all(
        [whole, result].map(({ folder }) => Deno.readTextFile(join(folder!, "train.json"))),
      );
      assert.equal(b, a);
      assert.deepEqual(result.best!.checkpoint.tensors, whole.best!.checkpoint.tensors);
    });
  });
}

gpuTest("run: --no_log writes nothing and still tests", async (gpu) => {
  await inWorkspace(gpu, async (workspace, model) => {
    const request = { ...cot(workspace, model, "do_lora=True"), noLog: true, doTest: true };
    const { result } = await captured(() => trainRun(gpu, request));
    assert.equal(result.results!.num_questions, 5);
    assert.deepEqual([...Deno.readDirSync(workspace)].map(({ name }) => name), ["tiny"]);
  });
});

gpuTest("run: checkpoints of another model are refused by name", async (gpu) => {
  await inWorkspace(gpu, async (workspace, model) => {
    const { result } = await captured(() => trainRun(gpu, cot(workspace, model)));
    const loadPath = join(result.folder!, "checkpoints/last");
    const other = await tinyModel(gpu, workspace, "other", 24);
    const wider = await tinyModel(gpu, join(workspace, "elsewhere"), "tiny", 24);
    const missing = join(workspace, "models/llms/nowhere");
    const cases: [Partial<RunRequest>, RegExp][] = [
      [
        { ...cot(workspace, other), loadPath },
        /^'.*last' was saved from models\/cot\.ts on .*tiny, but this run's model_id is '.*other'; set model_id to a folder named 'tiny' /,
      ],
      [
        { ...cot(workspace, wider), loadPath },
        /^'.*last' was saved from models\/cot\.ts on .*: its 'llm\.\S+' is \[\d+(, \d+)*\], this run's is \[/,
      ],
      [
        { ...cot(workspace, model, "do_lora=True"), loadPath },
        /^'.*last' was saved from .*: it has none of this run's tensors, 'llm\.base_model\..*' for one; name/,
      ],
      [
        { resumePath: loadPath, loadPath },
        /^--resume_ckpt_path goes on with a run, --load_ckpt_path/,
      ],
      [
        { resumePath: loadPath, model: "colar" },
        /^--model is colar, but '.*last' was saved with cot; leave --model out to go on/,
      ],
      [{}, /^train needs --model, as in --model=colar; /],
      [
        cot(workspace, "nowhere"),
        new RegExp(`^model_id: no folder 'nowhere', nor ${missing}, and no id of the Hub`),
      ],
      [cot(workspace, model, "dataset_name=nodata"), /^nodata: no such folder; a data set is/],
    ];
    for (const [request, message] of cases) {
      await captured(async () => {
        await assert.rejects(trainRun(gpu, { workspace, ...request }), { message });
      });
    }
    // The commit that a run of the Hub's model has kept makes it no other model.
    const pinned = await tinyModel(gpu, workspace, `tiny@${"0".repeat(40)}`);
    const again = { ...cot(workspace, pinned), loadPath };
    assert.equal((await captured(() => trainRun(gpu, again))).result.isInterrupted, false);
  });
});
