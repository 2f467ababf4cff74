/** The examples of mod.ts's documentation run as they stand. */
import assert from "node:assert/strict";
import type { Gpu } from "../gpu/device.ts";
import * as mod from "../mod.ts";
import { gpuTest } from "./check_op.ts";
import { captured } from "./training/tiny_model.ts";

const root = new URL("..", import.meta.url).pathname;

/** The examples, as lines of code. */
async function examples(): Promise<string[]> {
  const text = await Deno.readTextFile(`${root}/mod.ts`);
  const blocks = [...text.matchAll(/```ts ignore\n([\s\S]*?) \* ```/g)];
  return blocks.map(([, code]) => code.replace(/^ \* ?/gm, ""));
}

function importedNames(code: string): string[] {
  const [, names] = /import \{ (.*) \} from/.exec(code)!;
  return names.split(", ");
}

/**
 * Runs an example on the tests' own device, with folders in place of its; all other lines run as they stand.
 * @returns what it logs, and what it holds with `using`
 */
async function run(gpu: Gpu, code: string, folders: Readonly<Record<string, string>>) {
  const names = importedNames(code);
  const [, held] = /^using (\w+) = /m.exec(code)!;
  let text = code
    .replace(/^import .*$/m, "")
    .replace(/^const gpu = .*$/m, "")
    .replace(/^using /m, "const ")
    .replace(/console\.log\((.*)\);.*/, `return { values: $1, held: ${held} };`);
  for (const [folder, instead] of Object.entries(folders)) {
    assert.ok(text.includes(`"${folder}"`), folder);
    text = text.replace(`"${folder}"`, JSON.stringify(instead));
  }
  const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
  const example = new AsyncFunction("gpu", ...names, text);
  return await example(gpu, ...names.map((name) => mod[name as keyof typeof mod]));
}

Deno.test("mod.ts exports every name that its examples import", async () => {
  const all = await examples();
  assert.equal(all.length, 3);
  for (const name of all.flatMap(importedNames)) {
    assert.ok(name in mod, `mod.ts does not export ${name}`);
  }
});

gpuTest("mod.ts: the first example gives finite hidden states", async (gpu) => {
  const [code] = await examples();
  const folders = { "assets/nano": `${root}/assets/nano` };
  const { values, held } = await run(gpu, code, folders);
  using _ = held;
  assert.equal(values.length, 3 * 128);
  assert.ok(values.every(Number.isFinite) && values.some((x: number) => x !== 0));
});

gpuTest("mod.ts: the second example trains, answers and saves a checkpoint", async (gpu) => {
  const [, code] = await examples();
  const folder = await Deno.makeTempDir();
  try {
    const { result } = await captured(() => run(gpu, code, { "logs/mine/checkpoints": folder }));
    using _ = result.held;
    const [output, last] = result.values;
    assert.equal(typeof output, "string");
    const { state, tensors } = await mod.loadCheckpoint(last);
    assert.equal(state.step, 2);
    assert.ok(tensors.size > 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

gpuTest("mod.ts: the third example answers each question at its own speed", async (gpu) => {
  const [, , code] = await examples();
  const folder = await Deno.makeTempDir();
  try {
    const last = await trainedColar(gpu, folder);
    const { values, held } = await run(gpu, code, {
      "logs/colar/arith/RUN/checkpoints/last": last,
    });
    using built: { method: mod.Method } & Disposable = held;
    const question = "2 pens and 3 pens?";
    const speeds: readonly mod.ThinkingSpeed[] = [2, 8, "auto"];
    for (const [id, speed] of speeds.entries()) {
      const alone = await built.method.answer([{ id, question }], { speed, greedy: true, seed: 0 });
      assert.deepEqual(alone, [values[id]]);
    }
    assert.ok(
      new Set(values.map(({ output }: mod.Answer) => output)).size > 1,
      "the prompt names it",
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** A checkpoint of CoLaR after a step, by what mod.ts exports. */
async function trainedColar(gpu: Gpu, folder: string): Promise<string> {
  const rows = [{ question: "2 pens and 3 pens?", steps: ["<<2+3=5>>"], answer: "5" }];
  const small = ["max_n_latent_forward=4", "max_new_tokens=6", "lp_intermediate_size=8"];
  const overrides = ["max_steps=1", "batch_size=1", "evaluation.protocol=greedy", ...small];
  const { config } = await mod.resolveConfig({ model: "colar", overrides });
  using built = await mod.buildMethod({ gpu, config, workspace: "." });
  const checkpoints = await mod.CheckpointFolder.open(folder);
  const dataset = { train: rows, val: rows };
  const report = new mod.Report();
  await captured(() =>
    mod.train({ gpu, method: built.method, config, dataset, report, checkpoints })
  );
  return checkpoints.last;
}
