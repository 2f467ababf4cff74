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
  assert.equal(all.length, 2);
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
