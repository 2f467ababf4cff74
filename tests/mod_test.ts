import assert from "node:assert/strict";
import * as mod from "../mod.ts";
import { gpuTest } from "./check_op.ts";

const root = new URL("..", import.meta.url).pathname;

/** The example of mod.ts's documentation, as lines of code. */
async function example(): Promise<string> {
  const text = await Deno.readTextFile(`${root}/mod.ts`);
  const [, code] = /```ts ignore\n([\s\S]*?) \* ```/.exec(text)!;
  return code.replace(/^ \* ?/gm, "");
}

Deno.test("mod.ts exports every name that its example imports", async () => {
  const [, names] = /import \{ (.*) \} from/.exec(await example())!;
  for (const name of names.split(", ")) assert.ok(name in mod, `mod.ts does not export ${name}`);
});

gpuTest("mod.ts: the example runs and gives finite hidden states", async (gpu) => {
  // The device is the tests' own, and the folder absolute; all other lines run as they stand.
  const code = (await example())
    .replace(/^import .*$/m, "")
    .replace(/^const gpu = .*$/m, "")
    .replace('"assets/nano"', JSON.stringify(`${root}/assets/nano`))
    .replace(/using step = /, "const step = ")
    .replace(/console\.log\((.*)\);.*/, "return { values: $1, scope: step };");
  const { Graph, loadModel, packRows, embedding } = mod;
  const names = ["gpu", "Graph", "loadModel", "packRows", "embedding"];
  const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
  const run = new AsyncFunction(...names, code);
  const { values, scope } = await run(gpu, Graph, loadModel, packRows, embedding);
  using _ = scope;
  assert.equal(values.length, 3 * 128);
  assert.ok(values.every(Number.isFinite) && values.some((x: number) => x !== 0));
});
