/**
 * Runs every golden set below a folder: tests/golden, or GOLDEN_DIR where it is set.
 *
 * A folder with case.json is a backbone case, one with cases/ is a set of method cases. A case of an
 * unknown kind fails, and so do tensors without a case and a recorded tensor that nothing was compared with.
 */
import assert from "node:assert/strict";
import { gpuTest } from "./check_op.ts";
import { checkBackbone } from "./golden_backbone.ts";
import { GoldenCase } from "./golden_case.ts";
import { caseNames, findCases, findMethodSets } from "./golden_files.ts";
import { checkMethod } from "./golden_methods.ts";
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
    gpuTest(`golden ${set}/${name}`, async (gpu) => {
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

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
