/** What a folder of golden cases may hold: nothing in it is passed over. */
import assert from "node:assert/strict";
import { gpuTest } from "./check_op.ts";
import { GoldenCase } from "./golden_case.ts";
import { caseNames, findCases, findMethodSets } from "./golden_files.ts";
import { checkMethod, checkOf } from "./golden_methods.ts";

const GOLDEN = new URL("./golden", import.meta.url).pathname;

/** A folder with files of these contents, gone afterwards. */
async function withFolder(
  files: Readonly<Record<string, string>>,
  run: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(`${folder}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(`${folder}/${path}`, text);
    }
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("golden files: tensors without the JSON that describes them are a case, which fails", async () => {
  const files = {
    "set/cases/cot.json": "{}",
    "set/cases/cot.safetensors": "",
    "set/cases/answers.json": "{}",
    "set/cases/orphan.safetensors": "",
    "set/cases/README.md": "",
    "deep/gpt2/tensors.safetensors": "",
    "deep/llama/case.json": "{}",
  };
  await withFolder(files, async (folder) => {
    assert.deepEqual(await findMethodSets(folder), ["set"]);
    assert.deepEqual(await caseNames(`${folder}/set/cases`), ["answers", "cot", "orphan"]);
    assert.deepEqual(await findCases(folder), ["deep/gpt2", "deep/llama"]);
    const orphan = GoldenCase.openNamed(`${folder}/set/cases/orphan`);
    await assert.rejects(orphan, /orphan\.json/);
    await assert.rejects(GoldenCase.open(`${folder}/deep/gpt2`), /gpt2\/case\.json/);
  });
  await withFolder({ "case.json": "{}" }, async (folder) => {
    assert.deepEqual(await findCases(folder), [""], "the folder itself may be a case");
  });
});

Deno.test("golden files: a JSON that describes tensors which are not there fails", async () => {
  const json = JSON.stringify({ case: "cot", tensors: { labels: [2, 3] } });
  await withFolder({ "cot.json": json }, async (folder) => {
    await assert.rejects(GoldenCase.openNamed(`${folder}/cot`), /not there/);
  });
});

Deno.test("golden kinds: every case of the repository is known, by its whole name", async () => {
  const names = await caseNames(`${GOLDEN}/methods/cases`);
  assert.ok(names.length >= 28);
  for (const name of [...names, "config_overrides", "corrected_colar_r3_answer_only"]) {
    assert.ok(checkOf(name), name);
    for (const other of [`${name}_v2`, `${name}0`, `x_${name}`]) {
      assert.equal(checkOf(other), undefined, other);
    }
  }
});

gpuTest("golden kinds: a case of an unknown kind is named", async (gpu) => {
  const json = JSON.stringify({ case: "colar_r3_entropy_v2" });
  await withFolder({ "c.json": json }, async (folder) => {
    const golden = await GoldenCase.openNamed(`${folder}/c`);
    await assert.rejects(checkMethod(gpu, "set", golden), {
      name: "TypeError",
      message: 'set: case "colar_r3_entropy_v2" is of no known kind',
    });
  });
});

gpuTest("golden config_overrides: a table with another value in any row fails", async (gpu) => {
  const own = JSON.parse(await Deno.readTextFile(`${GOLDEN}/config_overrides.json`));
  const set = `${GOLDEN}/methods`;
  const check = async (change: (row: Record<string, unknown>) => void, argument: string) => {
    const altered = structuredClone(own);
    change(altered.table.find((row: { argument: string }) => row.argument === argument));
    await withFolder({ "c.json": JSON.stringify(altered) }, async (folder) => {
      await checkMethod(gpu, set, await GoldenCase.openNamed(`${folder}/c`));
    });
  };
  await check(() => {}, "lr=.5");
  // Followed, listed as a deviation, and an error: whatever was recorded of them.
  await assert.rejects(check((row) => row.changed = { seed: 1 }, "batch_size=8"));
  await assert.rejects(check((row) => row.changed = { seed: 1 }, "lr=.5"));
  await assert.rejects(check((row) => row.error = "another", "lora_alfa=1"));
  await assert.rejects(check((row) => row.argument = "r=17", "lora_alfa=1"));
});
