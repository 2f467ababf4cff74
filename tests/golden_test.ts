/**
 * Runs every golden set below a folder: tests/golden, or GOLDEN_DIR where it is set.
 *
 * A folder with case.json is a backbone case, one with meta.json and cases/ is a set of method cases. A case of an
 * unknown kind fails, and so does a recorded tensor that nothing was compared with.
 */
import assert from "node:assert/strict";
import { gpuTest } from "./check_op.ts";
import { checkBackbone } from "./golden_backbone.ts";
import { GoldenCase } from "./golden_case.ts";
import { checkMethod, notRun } from "./golden_methods.ts";
import { checkOps } from "./golden_ops.ts";
import { checkSampling } from "./golden_sampling.ts";

const folder = Deno.env.get("GOLDEN_DIR") || new URL("./golden", import.meta.url).pathname;
let cases = 0;
let numbers = 0;

for (const found of await findCases(folder)) {
  gpuTest(`golden ${found}`, async (gpu) => {
    const golden = await GoldenCase.open(`${folder}/${found}`);
    if (golden.json.case === "ops" && golden.json.ops) await checkOps(gpu, golden);
    else if (golden.json.case === "sampling") await checkSampling(gpu, golden);
    else if (await exists(`${folder}/${found}/config.json`)) await checkBackbone(gpu, golden);
    else {throw new TypeError(
        `${found}: case ${JSON.stringify(golden.json.case)} is of no known kind`,
      );}
    finish(golden);
  });
}

for (const set of await findMethodSets(folder)) {
  for (const name of await caseNames(`${folder}/${set}/cases`)) {
    const title = `golden ${set}/${name}`;
    const reason = notRun(name);
    if (reason) {
      Deno.test({ name: `${title}: ${reason}`, ignore: true, fn: () => {} });
      continue;
    }
    gpuTest(title, async (gpu) => {
      const golden = await GoldenCase.openNamed(`${folder}/${set}/cases/${name}`);
      assert.equal(golden.json.case, name);
      await checkMethod(gpu, `${folder}/${set}`, golden);
      finish(golden);
    });
  }
}

Deno.test("golden: something was compared", () => {
  console.log(`golden: ${cases} cases, ${numbers} numbers compared`);
  assert.ok(cases > 0, `no golden case below ${folder}`);
});

function finish(golden: GoldenCase): void {
  golden.finish();
  assert.ok(golden.compared > 0);
  cases++;
  numbers += golden.compared;
}

async function caseNames(path: string): Promise<string[]> {
  const files = await Array.fromAsync(Deno.readDir(path));
  return files.filter(({ name }) => name.endsWith(".json"))
    .map(({ name }) => name.slice(0, -".json".length)).sort();
}

async function findCases(root: string): Promise<string[]> {
  const found: string[] = [];
  await walk(root, "", async (path) => {
    if (await exists(`${root}/${path}/case.json`)) found.push(path);
  });
  return found.sort();
}

async function findMethodSets(root: string): Promise<string[]> {
  const found: string[] = [];
  await walk(root, "", async (path) => {
    const isSet = await exists(`${root}/${path}/meta.json`) &&
      await exists(`${root}/${path}/cases`);
    if (isSet) found.push(path);
  });
  return found.sort();
}

async function walk(root: string, path: string, visit: (path: string) => Promise<void>) {
  await visit(path);
  for await (const entry of Deno.readDir(`${root}/${path}`)) {
    if (entry.isDirectory) await walk(root, path ? `${path}/${entry.name}` : entry.name, visit);
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
