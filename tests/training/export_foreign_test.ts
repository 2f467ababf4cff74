/** Exports of a published PyTorch file: as test reads one, to the bytes of our own checkpoint's exports. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { loadCheckpoint } from "../../io/checkpoint.ts";
import { peftName, readAdapter } from "../../io/peft.ts";
import { loadPublishedCheckpoint } from "../../io/published_checkpoint.ts";
import { loadSafetensors } from "../../io/safetensors.ts";
import { main } from "../../main.ts";
import { exportMerged, exportPeft, type WithGpu } from "../../training/export.ts";
import { trainRun } from "../../training/run.ts";
import { gpuTest } from "../check_op.ts";
import { torchFile } from "../io/torch_pickle.ts";
import { captured, inWorkspace, QUICK, QUICK_COLAR } from "./tiny_model.ts";

const LIGHTNING = new URL("../io/torch/lightning.ckpt", import.meta.url).pathname;

/** A folder's files. */
async function contentOf(folder: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for await (const { name } of Deno.readDir(folder)) {
    files[name] = (await Deno.readFile(join(folder, name))).toBase64();
  }
  return files;
}

gpuTest("export of FILE.ckpt: CoLaR's tensors give what our own checkpoint gives", async (gpu) => {
  await inWorkspace(gpu, async (workspace, base) => {
    const sizes = ["do_lora=True", "r=3", "lora_alpha=5", 'rank_pattern={"v_proj": 2}'];
    const overrides = [`model_id=${base}`, ...QUICK, ...QUICK_COLAR, ...sizes, "start=none"];
    const { result } = await captured(() =>
      trainRun(gpu, { model: "colar", workspace, overrides: [...overrides, "lr=0.05"] })
    );
    const path = join(result.folder!, "checkpoints/last");
    const { tensors } = await loadCheckpoint(path);
    const file = join(workspace, "theirs.ckpt");
    await Deno.writeFile(file, torchFile(tensors));
    const withGpu: WithGpu = (work) => work(gpu);
    const theirs = { path: file, model: "colar", workspace, overrides };
    for (const format of ["peft", "merged"] as const) {
      const out = join(workspace, `ours-${format}`);
      const ours = { path, workspace, out };
      const lines = format === "peft"
        ? await exportPeft(theirs, withGpu)
        : await exportMerged(gpu, theirs);
      const expected = format === "peft"
        ? await exportPeft(ours, withGpu)
        : await exportMerged(gpu, ours);
      const folder = join(workspace, `theirs-${format}`);
      const used = `${file}: ${tensors.size} of ${tensors.size} tensors are used`;
      const about = format === "peft" ? [used] : [used, lines[1]];
      assert.deepEqual(lines, [...about, ...expected.map((line) => line.replace(out, folder))]);
      assert.match(lines[1], format === "merged" ? /^Warning: .* no row for \[PAD\]/ : /adapter/);
      const content = await contentOf(folder);
      assert.ok(content["method.safetensors"], Object.keys(content).join());
      assert.deepEqual(content, await contentOf(out));
    }
  });
});

gpuTest("export of FILE.ckpt: a file of Lightning's, by the command line", async (gpu) => {
  await inWorkspace(gpu, async (workspace, base) => {
    const out = join(workspace, "adapter");
    const kernels = `--kernels=${gpu.isSoftware ? "subgroup" : "tiled"}`; // named, so that nothing is measured
    const run = (format: string, ...more: string[]) =>
      captured(() =>
        main([
          ...["export", `--ckpt=${LIGHTNING}`, `--format=${format}`, `--out=${out}`, kernels],
          ...[`model_id=${base}`, "do_lora=True", "r=2", ...more],
        ])
      );
    const cases: [string[], RegExp][] = [
      [[], /lightning\.ckpt' is a file of PyTorch, which does not say how .*: add --model=colar/],
      [["--model=cot"], /was trained with lora_alpha 3, this run's is \d+; set lora_alpha=3$/],
      [["--model=cot", "lora_alpha=3", "r=4"], /: its '.*' is \[2, 16\], this run's is \[4, 16\];/],
      [
        ["--model=colar", "lora_alpha=3"],
        /it has not all of this run's tensors, 'latent_policy\.fc\.0\.weight' for one/,
      ],
      [["--model=cot", "lora_alpha=3", 'target_modules=["q_proj", "k_proj"]'], /k_proj.* for one/],
      [["--model=cot", "do_lora=False"], /has no adapter with do_lora=False; set do_lora=True, or/],
      [["--model=cot", "lora_alfa=3"], /^Unknown config key 'lora_alfa' \(did you mean/],
    ];
    for (const [more, message] of cases) {
      const { result, errors } = await run("peft", ...more);
      assert.equal(result, 2);
      assert.match(errors, message);
      await assert.rejects(Deno.stat(out), Deno.errors.NotFound);
    }
    const good = ["--model=cot", "lora_alpha=3", "pad_row=mean", "--seed=3"];
    const peft = await run("peft", ...good);
    assert.deepEqual([peft.result, peft.errors], [0, ""]);
    assert.deepEqual(peft.out.split("\n"), [
      `${LIGHTNING}: 4 of 6 tensors are used`,
      "  in it, but not used: extra.double",
      "  no floats, so not read: extra.count",
      `${out}: 4 tensors of the adapter of ${base}`,
    ]);
    const { tensors, config } = await readAdapter(out);
    assert.deepEqual([config.r, config.lora_alpha], [2, 3]);
    const { checkpoint } = await loadPublishedCheckpoint(LIGHTNING);
    for (const [name, { data }] of checkpoint.tensors) {
      const theirs = peftName(name);
      if (theirs !== undefined) assert.deepEqual(tensors.get(theirs)!.data, data, name);
    }
    assert.deepEqual([...Deno.readDirSync(out)].map(({ name }) => name).sort(), [
      ...["adapter_config.json", "adapter_model.safetensors"],
    ]);
    const taken = await run("peft", ...good);
    assert.match(taken.errors, /adapter" is there already; name a new folder with --out$/);
    await Deno.remove(out, { recursive: true });
    const merged = await run("merged", ...good);
    assert.deepEqual([merged.result, merged.errors], [0, ""]);
    const weights = await loadSafetensors(join(out, "model.safetensors"));
    const before = await loadSafetensors(join(base, "model.safetensors"));
    const name = "model.layers.0.self_attn.v_proj.weight";
    const [a, b] = ["A", "B"].map((side) =>
      tensors.get(`base_model.model.${name.replace(".weight", "")}.lora_${side}.weight`)!.data
    );
    const { data, shape: [rows, columns] } = weights.get(name)!;
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const update = 3 / 2 * (b[2 * i] * a[j] + b[2 * i + 1] * a[columns + j]);
        const expected = before.get(name)!.data[i * columns + j] + update;
        assert.ok(Math.abs(data[i * columns + j] - expected) < 1e-5, `${i}, ${j}`);
      }
    }
  });
});
