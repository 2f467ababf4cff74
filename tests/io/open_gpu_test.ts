/** Choosing kernels: what `--kernels` may say, and what is remembered between runs. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { cacheFolder } from "../../io/cache_folder.ts";
import {
  choiceFile,
  chooseKernels,
  describeKernels,
  parseKernels,
} from "../../io/kernel_choice.ts";
import { kernelOrigin, openGpu } from "../../io/open_gpu.ts";
import { Gpu } from "../../gpu/device.ts";
import { chooseLinear, type LinearKernels } from "../../ops/linear.ts";

const TILED: LinearKernels = { form: "tiled", tiles: {} };

function deviceTest(name: string, fn: (gpu: Gpu, cache: string) => Promise<void>): void {
  Deno.test({
    name,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      const cache = await Deno.makeTempDir({ prefix: "kernel choice " });
      using gpu = await Gpu.open();
      try {
        await fn(gpu, cache);
      } finally {
        await Deno.remove(cache, { recursive: true });
      }
    },
  });
}

/** Collects what is said on stderr meanwhile. */
async function said(action: () => Promise<unknown>): Promise<string[]> {
  const lines: string[] = [];
  const { error } = console;
  console.error = (line: string) => lines.push(line);
  try {
    await action();
  } finally {
    console.error = error;
  }
  return lines;
}

Deno.test("--kernels: the choices", () => {
  assert.equal(parseKernels("auto"), undefined);
  assert.deepEqual(parseKernels("tiled"), TILED);
  assert.deepEqual(parseKernels("subgroup"), { form: "subgroup", tiles: {} });
  const { form, tiles } = parseKernels("subgroup:16x4")!;
  assert.equal(form, "subgroup");
  assert.deepEqual(tiles.ntHalf, { R: 16, C: 4 });
  assert.deepEqual(tiles.tn, { R: 32, C: 4 });
});

for (const text of ["", "fast", "tiled:32x8", "subgroup:", "subgroup:32", "Subgroup", "auto:8x4"]) {
  Deno.test(`--kernels: '${text}' is refused with the choices`, async () => {
    const expected = {
      name: "RangeError",
      message: "--kernels must be auto, tiled, subgroup or subgroup:RxC " +
        `(a register tile, as in subgroup:32x8), got '${text}'`,
    };
    assert.throws(() => parseKernels(text), expected);
    await assert.rejects(openGpu({ kernels: text }), expected);
  });
}

deviceTest("--kernels: a form is set, a tile that no kernel has is refused", async (gpu) => {
  using tiled = await openGpu({ kernels: "tiled" });
  assert.deepEqual(chooseLinear(tiled), TILED);
  assert.equal(kernelOrigin(tiled), "asked for");
  if (!gpu.isSoftware) return console.log("skipped the tiles: this adapter has no subgroups of 8");
  using small = await openGpu({ kernels: "subgroup:16x4" });
  assert.equal(
    describeKernels(small),
    "subgroup: nt 16x4, ntHalf 16x4, nn 16x4, nnHalf 16x4, tn 32x4",
  );
  await assert.rejects(openGpu({ kernels: "subgroup:7x8" }), {
    name: "RangeError",
    message: /^linear: tile 'nt' is 7x8; R must be/,
  });
});

deviceTest(
  "kernels: measured once, remembered, measured again for a torn file",
  async (gpu, cache) => {
    let measured = 0;
    const measure = () => {
      measured++;
      return Promise.resolve(TILED);
    };
    const once = /^measuring once/;
    assert.match((await said(() => chooseKernels(gpu, cache, measure))).join("\n"), once);
    assert.deepEqual(chooseLinear(gpu), TILED);
    assert.deepEqual(await said(() => chooseKernels(gpu, cache, measure)), []);
    assert.equal(await chooseKernels(gpu, cache, measure), "remembered");
    assert.equal(measured, 1);
    const names = async () => (await Array.fromAsync(Deno.readDir(cache))).map((file) => file.name);
    assert.deepEqual(await names(), ["kernels.json"], "no temporary file is left");

    const good = await Deno.readTextFile(choiceFile(cache));
    const key = Object.keys(JSON.parse(good))[0];
    for (const part of [gpu.info.description, `Deno ${Deno.version.deno}`]) {
      assert.ok(
        key.includes(part),
      );
    }
    const wrong = [good.slice(0, 40), "", "[]", "null", "{}", '"x"', '{"other": 1}'];
    const odd = [null, 1, {}, { form: "fast", tiles: {} }, { form: "tiled", tiles: { nt: null } }]
      .map((choice) => JSON.stringify({ [key]: choice }));
    for (const text of [...wrong, ...odd]) {
      await Deno.writeTextFile(choiceFile(cache), text);
      const before: number = measured;
      await said(() => chooseKernels(gpu, cache, measure));
      assert.equal(measured, before + 1, text);
      assert.equal(await chooseKernels(gpu, cache, measure), "remembered", text);
    }
  },
);

deviceTest(
  "kernels: other adapters' choices stay, older ones of this adapter go",
  async (gpu, cache) => {
    const measure = () => Promise.resolve(TILED);
    await said(() => chooseKernels(gpu, cache, measure));
    const [key] = Object.keys(JSON.parse(await Deno.readTextFile(choiceFile(cache))));
    const old = key.replace(/\w+$/, "000000000000");
    const choices = { "another adapter | kernels 1": TILED, [old]: TILED };
    await Deno.writeTextFile(choiceFile(cache), JSON.stringify(choices));
    await said(() => chooseKernels(gpu, cache, measure));
    const now = JSON.parse(await Deno.readTextFile(choiceFile(cache)));
    assert.deepEqual(Object.keys(now), ["another adapter | kernels 1", key]);
  },
);

deviceTest(
  "kernels: without a cache, or one that cannot be written, the run goes on",
  async (gpu, cache) => {
    const measure = () => Promise.resolve(TILED);
    assert.equal((await said(() => chooseKernels(gpu, undefined, measure))).length, 1);
    await Deno.writeTextFile(join(cache, "file"), "");
    const folder = join(cache, "file", "folder"); // below a file: cannot be made, even by root
    const lines = await said(async () => {
      assert.equal(await chooseKernels(gpu, folder, measure), "measured now");
    });
    assert.match(
      lines[1],
      /^cannot remember the kernels in .*kernels\.json \(.+\): they are measured/,
    );
    assert.equal(lines.length, 2);
  },
);

deviceTest("kernels: without a measurement nothing is written", async (gpu, cache) => {
  assert.equal(await chooseKernels(gpu, cache, undefined), "default");
  assert.deepEqual(await Array.fromAsync(Deno.readDir(cache)), []);
});

Deno.test("cache folder: COLAR_CACHE, else XDG_CACHE_HOME, else HOME, as denow", () => {
  const names = ["COLAR_CACHE", "XDG_CACHE_HOME", "HOME"];
  const granted = (name: string) =>
    Deno.permissions.querySync({ name: "env", variable: name }).state === "granted";
  if (!names.every(granted)) {
    assert.equal(cacheFolder() === undefined, !names.some(granted));
    return console.log(`skipped the rules: needs --allow-env=${names.join()}`);
  }
  const before = names.map((name) => Deno.env.get(name));
  const set = (values: (string | undefined)[]) =>
    names.forEach((name, i) => {
      const value = values[i];
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    });
  try {
    set(["/a b", "/x", "/h"]);
    assert.equal(cacheFolder(), "/a b");
    set(["", "/x", "/h"]);
    assert.equal(cacheFolder(), "/x/colar-webgpu");
    set([undefined, undefined, "/h"]);
    assert.equal(cacheFolder(), "/h/.cache/colar-webgpu");
    set([undefined, undefined, undefined]);
    assert.equal(cacheFolder(), undefined);
  } finally {
    set(before);
  }
});
