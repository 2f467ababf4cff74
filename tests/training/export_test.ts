/** Exported checkpoints: PEFT's folder is the adapter, the merged model answers as the adapter on its base does. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import { loadCheckpoint } from "../../io/checkpoint.ts";
import { loadModel } from "../../io/load_model.ts";
import { peftName, readAdapter } from "../../io/peft.ts";
import { loadSafetensors } from "../../io/safetensors.ts";
import type { Backbone } from "../../llm/backbone.ts";
import { LoraAdapter } from "../../llm/lora.ts";
import { packRows } from "../../llm/tokens.ts";
import { embedding } from "../../ops/embedding.ts";
import { main } from "../../main.ts";
import { exportMerged, exportPeft } from "../../training/export.ts";
import { trainRun } from "../../training/run.ts";
import { gpuTest } from "../check_op.ts";
import { COMMIT, withHub } from "../io/hub_server.ts";
import { captured, inWorkspace, QUICK, QUICK_COLAR } from "./tiny_model.ts";

/** A checkpoint of ours is exported for PEFT without a device. */
const noDevice = () => Promise.reject(new Error("a device was opened"));

const IDS = Uint32Array.of(5, 17, 300, 42, 9, 111);

async function hidden(gpu: Gpu, model: Backbone): Promise<Float32Array> {
  using step = gpu.scope();
  const g = new Graph(gpu, step, { training: false });
  const tokens = packRows(step, [{ length: IDS.length }]);
  return await gpu.read(model.forward(g, embedding(g, model.embeddings, IDS), tokens).hidden);
}

/** A tiny run's last checkpoint. */
async function checkpointOf(gpu: Gpu, workspace: string, model: string, ...more: string[]) {
  const [name, ...settings] = more;
  const overrides = [`model_id=${model}`, ...QUICK, "lr=0.05", ...settings];
  const { result } = await captured(() => trainRun(gpu, { model: name, workspace, overrides }));
  return join(result.folder!, "checkpoints/last");
}

gpuTest("export: adapter and merged model agree with each other and with the run", async (gpu) => {
  await inWorkspace(gpu, async (workspace, base) => {
    const sizes = [
      "do_lora=True",
      "r=3",
      "lora_alpha=5",
      'rank_pattern={"v_proj": 2}',
      "lora_dropout=0.5",
    ];
    const settings = [...QUICK_COLAR, ...sizes, "start=none"];
    const path = await checkpointOf(gpu, workspace, base, "colar", ...settings);
    const { tensors } = await loadCheckpoint(path);
    const lines = await exportPeft({ path, workspace }, noDevice);
    const folder = join(path, "../../exported/last-peft");
    assert.deepEqual(lines, [
      `${folder}: 4 tensors of the adapter of ${base}`,
      "  method.safetensors: 10 tensors that only this program reads",
    ]);
    await assert.rejects(
      exportPeft({ path, workspace, overrides: ["r=4"], out: join(workspace, "r4") }, noDevice),
      /last: model\..*q_proj: lora_A and lora_B are \[3, 16\] and \[16, 3\]; rank is 4$/,
    );
    const adapter = await readAdapter(folder);
    assert.deepEqual(adapter.config, {
      ...{ r: 3, lora_alpha: 5, target_modules: ["q_proj", "v_proj"] },
      ...{ use_rslora: false, rank_pattern: { v_proj: 2 }, alpha_pattern: {}, lora_dropout: 0.5 },
    });
    const method = await loadSafetensors(join(folder, "method.safetensors"));
    for (const [name, { data }] of tensors) {
      const theirs = peftName(name);
      const written = theirs === undefined ? method.get(name) : adapter.tensors.get(theirs);
      assert.deepEqual(written!.data, data, name);
    }
    const out = join(workspace, "new/merged");
    const [line] = await exportMerged(gpu, { path, workspace, out });
    assert.equal(line, `${out}: ${base}, merged, with its tokenizer`);
    const plain = await loadModel(gpu, base);
    const without = await hidden(gpu, plain);
    using lora = new LoraAdapter(gpu, plain, adapter.config);
    for (const [name, { data }] of adapter.tensors) lora.write(name, data);
    plain.adapter = lora;
    const expected = await hidden(gpu, plain);
    const merged = await loadModel(gpu, out);
    assert.equal(merged.embeddings.shape[0], plain.embeddings.shape[0] + 1);
    const got = await hidden(gpu, merged);
    const most = (other: Float32Array) => Math.max(...got.map((x, i) => Math.abs(x - other[i])));
    assert.ok(most(expected) < 1e-4, `off by ${most(expected)}`);
    assert.ok(most(without) > 0.01, "the adapter does nothing");
    // The merged model is a base model like any other.
    await checkpointOf(gpu, workspace, out, "cot");
    await assert.rejects(
      exportMerged(gpu, { path, workspace, out }),
      /is there already; name a new/,
    );
  });
});

gpuTest("export: an adapter names its model of the Hub, and its commit apart", async (gpu) => {
  await inWorkspace(gpu, async (workspace, base) => {
    const path = await checkpointOf(gpu, workspace, base, "cot", "do_lora=True", "r=2");
    await withHub(async (hub, cache) => {
      const names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
      const read = async (name: string) => [name, await Deno.readFile(join(base, name))] as const;
      const files = new Map(await Promise.all(names.map(read)));
      hub.repos.set("models/owner/tiny", { commit: COMMIT, files });
      for (const [i, id] of ["owner/tiny", `owner/tiny@${COMMIT}`].entries()) {
        const out = join(workspace, `peft-${i}`);
        const asked = { path, workspace, out, overrides: [`model_id=${id}`] };
        await exportPeft(asked, noDevice, hub.options(cache));
        const json = JSON.parse(await Deno.readTextFile(join(out, "adapter_config.json")));
        assert.deepEqual([json.base_model_name_or_path, json.revision], ["owner/tiny", COMMIT]);
      }
    });
  });
});

gpuTest("export: a merged model is float32 by both names of that key", async (gpu) => {
  await inWorkspace(gpu, async (workspace, base) => {
    const file = join(base, "config.json");
    const json = JSON.parse(await Deno.readTextFile(file));
    const path = await checkpointOf(gpu, workspace, base, "cot", "do_lora=True", "r=2");
    const sources = [
      [{ ...json, torch_dtype: "bfloat16" }, undefined],
      [{ ...json, torch_dtype: undefined, dtype: "bfloat16" }, "float32"],
    ] as const;
    for (const [i, [source, dtype]] of sources.entries()) {
      await Deno.writeTextFile(file, JSON.stringify(source));
      const out = join(workspace, `merged-${i}`);
      await exportMerged(gpu, { path, workspace, out });
      const written = JSON.parse(await Deno.readTextFile(join(out, "config.json")));
      assert.deepEqual([written.torch_dtype, written.dtype], ["float32", dtype]);
    }
  });
});

gpuTest("export: a fully trained model is written as trained; it has no adapter", async (gpu) => {
  await inWorkspace(gpu, async (workspace, base) => {
    const path = await checkpointOf(gpu, workspace, base, "cot");
    await assert.rejects(
      exportPeft({ path, workspace }, noDevice),
      /'.*last' was saved from models\/cot\.ts on .* with do_lora=False: it has no adapter; say --fo/,
    );
    const out = join(workspace, "merged");
    await exportMerged(gpu, { path, workspace, out });
    const written = await loadSafetensors(join(out, "model.safetensors"));
    for (const [name, { data }] of (await loadCheckpoint(path)).tensors) {
      assert.deepEqual(written.get(name.replace("llm.", ""))!.data, data, name);
    }
    for (const args of [["--format=peft"], ["--ckpt=x"], ["--ckpt=x", "--format=onnx"]]) {
      const { result, errors } = await captured(() => main(["export", ...args]));
      assert.equal(errors, "export needs --ckpt=CHECKPOINT and --format=peft or merged");
      assert.equal(result, 2);
    }
    const args = ["export", `--ckpt=${path}`, "--format=peft", `--workspace_path=${workspace}`];
    const { result, errors } = await captured(() => main(args));
    assert.equal(result, 2);
    assert.match(errors, /it has no adapter; say --format=merged$/);
  });
});
