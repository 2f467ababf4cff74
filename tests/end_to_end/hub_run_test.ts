/** A run whose model and data are of the Hub: what it keeps of them, and that it goes on without a network. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { main } from "../../main.ts";
import type { TestResults } from "../../training/test_run.ts";
import { gpuTest } from "../check_op.ts";
import { withEnvironment } from "../environment.ts";
import { COMMIT, type HubServer, withHub } from "../io/hub_server.ts";
import { captured, inWorkspace } from "../training/tiny_model.ts";

const TINY = "batch_size=2 max_steps=2 n_test=3 max_new_tokens=4 test_times=1".split(" ");

/** A folder's files as a repository has them. */
async function filesOf(folder: string) {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for await (const { name } of Deno.readDir(folder)) {
    files.set(name, await Deno.readFile(join(folder, name)));
  }
  return files;
}

/** Rows of each part, as a set of one's own has them. */
function setOfRows() {
  const rows = (part: string, count: number) =>
    Array.from(
      { length: count },
      (_, i) =>
        JSON.stringify({
          question: `${part}: ${i} pens?`,
          steps: [`<<${i}+0=${i}>>`],
          answer: `${i}`,
        }),
    );
  const parts = [["train", 4], ["val", 2], ["test", 5]] as const;
  return new Map(parts.map(([part, count]) => {
    const bytes = new TextEncoder().encode(rows(part, count).join("\n"));
    return [`${part}.jsonl`, bytes as Uint8Array<ArrayBuffer>];
  }));
}

const net = Deno.permissions.querySync({ name: "net", host: "127.0.0.1" }).state === "granted";
if (!net) console.log("skipped, needs --allow-net=127.0.0.1: a run of the Hub's model and data");

gpuTest("command line: model and data of the Hub, then the test offline", async (gpu) => {
  if (!net) return;
  await inWorkspace(gpu, async (workspace, folder) => {
    await withHub(async (hub, cache) => {
      hub.repos.set("models/owner/tiny", { commit: COMMIT, files: await filesOf(folder) });
      hub.repos.set("datasets/owner/rows", { commit: COMMIT, files: setOfRows() });
      const variables = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache, HF_HUB_OFFLINE: "0" };
      // The kernels are named, so nothing is measured.
      const kernels = `--kernels=${gpu.isSoftware ? "subgroup" : "tiled"}`;
      const run = async (...args: string[]) =>
        await captured(() => main([...args, kernels, `--workspace_path=${workspace}`]));
      await withEnvironment(variables, () => trainAndTest(hub, run));
    });
  });
});

type Run = (...args: string[]) => Promise<{ result: number; out: string; errors: string }>;

async function trainAndTest(hub: HubServer, run: Run): Promise<void> {
  const set = ["--dataset=gsm8k", "source=owner/rows", "dataset_name=mine"];
  const asked = ["train", "--model=cot", ...set, "model_id=owner/tiny", ...TINY, "--do_test"];
  Deno.env.set("HF_HUB_OFFLINE", "1");
  const refused = await run(...asked);
  assert.equal(refused.result, 2);
  assert.match(
    refused.errors,
    /^dataset owner\/rows@.*: HF_HUB_OFFLINE is set, and .* lacks it; /,
  );
  assert.deepEqual(hub.taken(), []);

  Deno.env.set("HF_HUB_OFFLINE", "0");
  const trained = await run(...asked);
  assert.deepEqual([trained.result, trained.errors], [0, ""]);
  assert.match(
    trained.out,
    /\nmine: 4 train, 2 val, 5 test rows \(test_split=test\) of owner\/rows@c0ffee0/,
  );
  const [, ckpt] = /\ntest: \.\/denow task test --ckpt=(.*)$/.exec(trained.out)!;
  const folder = join(ckpt, "../..");
  const config = await Deno.readTextFile(join(folder, "config.yaml"));
  assert.match(config, new RegExp(`^ +model_id: owner/tiny@${COMMIT}$`, "m"));
  assert.match(config, new RegExp(`^ +source: owner/rows@${COMMIT}$`, "m"));
  const { model } = JSON.parse(await Deno.readTextFile(join(folder, "environment.json")));
  assert.deepEqual(model, { name: "owner/tiny", commit: COMMIT });

  // Both have moved on, and there is no network: the checkpoint's own are tested.
  const moved = { commit: "bad".padEnd(40, "0"), files: new Map() };
  for (const name of [...hub.repos.keys()]) hub.repos.set(name, moved);
  assert.ok(hub.taken().length > 0);
  Deno.env.set("HF_HUB_OFFLINE", "1");
  const tested = await run("test", `--ckpt=${ckpt}`);
  assert.deepEqual([tested.result, tested.errors], [0, ""]);
  assert.deepEqual(hub.taken(), []);
  const [, other] = /\nlogs: (.*)$/.exec(tested.out)!;
  assert.deepEqual(await predictionsIn(other), await predictionsIn(folder));
}

async function predictionsIn(folder: string) {
  const { num_questions, speeds } = JSON.parse(await Deno.readTextFile(join(folder, "test.json")));
  assert.equal(num_questions, 3);
  return speeds.map(({ greedy, paper }: TestResults["speeds"][number]) =>
    [greedy, ...paper!.runs].map(({ predictions }) => predictions)
  );
}
