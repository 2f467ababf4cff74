/** Runs that begin from a published PyTorch file or from an adapter of PEFT: what is used, told and refused. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { loadCheckpoint } from "../../io/checkpoint.ts";
import { readAdapter, writeAdapter } from "../../io/peft.ts";
import { loadPublishedCheckpoint } from "../../io/published_checkpoint.ts";
import type { RunRequest } from "../../training/configure.ts";
import { trainRun } from "../../training/run.ts";
import { testCheckpoint } from "../../training/test_checkpoint.ts";
import { gpuTest } from "../check_op.ts";
import { captured, inWorkspace, QUICK } from "./tiny_model.ts";

const LIGHTNING = new URL("../io/torch/lightning.ckpt", import.meta.url).pathname;
const FROZEN = ["lr=1e-30", "weight_decay=0", "max_steps=1", "do_lora=True"];

const request = (workspace: string, model: string, ...more: string[]): RunRequest => ({
  model: "cot",
  workspace,
  overrides: [`model_id=${model}`, ...QUICK, ...FROZEN, ...more],
});

gpuTest("--load_ckpt_path=FILE.ckpt: used, told tensor by tensor, [PAD] warned of", async (gpu) => {
  await inWorkspace(gpu, async (workspace, model) => {
    const begun = { ...request(workspace, model, "r=2", "lora_alpha=3"), loadPath: LIGHTNING };
    const { result, out } = await captured(() => trainRun(gpu, begun));
    assert.match(out, /\n.*lightning\.ckpt: 4 of 6 tensors are used\n/);
    assert.match(out, /\n {2}in it, but not used: extra\.double\n/);
    assert.match(out, /\n {2}no floats, so not read: extra\.count\n/);
    assert.match(out, /\nWarning: .*lightning\.ckpt holds no row for \[PAD\], .* pad_row says how/);
    const { tensors } = await loadCheckpoint(join(result.folder!, "checkpoints/last"));
    const { checkpoint } = await loadPublishedCheckpoint(LIGHTNING);
    assert.equal(tensors.size, 4);
    for (const [name, { data }] of tensors) {
      assert.deepEqual(data, checkpoint.tensors.get(name)!.data, name);
    }
  });
});

gpuTest("--load_ckpt_path=FILE.ckpt: another scale, rank or backbone is refused", async (gpu) => {
  await inWorkspace(gpu, async (workspace, model) => {
    const cases: [string[], RegExp][] = [
      [
        ["r=2", "lora_alpha=4"],
        /was trained with lora_alpha 3, this run's is 4; set lora_alpha=3$/,
      ],
      [
        ["r=4", "lora_alpha=3"],
        /saved from src\.models\.cot\.LitCoT on tiny: its '.*' is \[2, 16\]/,
      ],
      [
        ["r=2", "lora_alpha=3", "model_id=assets/nano"],
        /on tiny, but .* 'assets\/nano'; set model_id to a folder named 'tiny' or to OWNER\/tiny of .*, or name/,
      ],
    ];
    for (const [more, message] of cases) {
      const begun = { ...request(workspace, model, ...more), loadPath: LIGHTNING };
      await captured(() => assert.rejects(trainRun(gpu, begun), message));
    }
  });
});

gpuTest("--load_adapter: sizes and numbers are the adapter's", async (gpu) => {
  await inWorkspace(gpu, async (workspace, model) => {
    const adapterPath = join(workspace, "adapter");
    await Deno.mkdir(adapterPath);
    const config = {
      r: 2,
      lora_alpha: 3,
      use_rslora: true,
      target_modules: ["gate_proj", "v_proj"],
      rank_pattern: { "0.self_attn.v_proj": 1 },
      alpha_pattern: { gate_proj: 5 },
      lora_dropout: 0.125,
    };
    const number = (shape: readonly number[], from: number) => ({
      shape,
      data: Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => from + i / 8),
    });
    const layer = "base_model.model.model.layers.0";
    const tensors = new Map([
      [`${layer}.self_attn.v_proj.lora_A.weight`, number([1, 16], 1)],
      [`${layer}.self_attn.v_proj.lora_B.weight`, number([8, 1], -1)],
      [`${layer}.mlp.gate_proj.lora_A.weight`, number([2, 16], 3)],
      [`${layer}.mlp.gate_proj.lora_B.weight`, number([24, 2], 2)],
    ]);
    const base = { model_id: "tiny", model_type: "llama" } as const;
    await writeAdapter(adapterPath, config, base, tensors);
    const begun = { ...request(workspace, model), adapterPath };
    const { result, out } = await captured(() => trainRun(gpu, begun));
    assert.match(out, /adapter: 4 of 4 tensors are used\n/);
    assert.doesNotMatch(out, /was trained on/);
    await writeAdapter(adapterPath, config, { ...base, model_id: "owner/other" }, tensors);
    const { out: told } = await captured(() => trainRun(gpu, begun));
    assert.match(
      told,
      /adapter: 4 of 4 tensors are used\nWarning: '.*adapter' was trained on 'owner\/other', this run's model_id is '.*tiny': if these are not the same weights, set model_id to those/,
    );
    const saved = await loadCheckpoint(join(result.folder!, "checkpoints/last"));
    const { model: { model_kwargs } } = saved.config as {
      model: { model_kwargs: Record<string, unknown> };
    };
    assert.deepEqual(model_kwargs.lora_config, config);
    for (const [name, { data }] of (await readAdapter(adapterPath)).tensors) {
      const own = `llm.${name.replace(".weight", ".default.weight")}`;
      assert.deepEqual(saved.tensors.get(own)!.data, data, own);
    }
    tensors.delete(`${layer}.mlp.gate_proj.lora_A.weight`);
    await writeAdapter(adapterPath, config, base, tensors);
    await captured(() =>
      assert.rejects(trainRun(gpu, begun), /gate_proj: lora_A and lora_B are nothing and \[24, 2\]/)
    );
    tensors.delete(`${layer}.mlp.gate_proj.lora_B.weight`);
    await writeAdapter(adapterPath, config, base, tensors);
    await captured(() =>
      assert.rejects(
        trainRun(gpu, begun),
        /adapter' has no 'llm\..*gate_proj.*'; name an adapter of/,
      )
    );
  });
});

gpuTest("test --ckpt=FILE.ckpt --model=cot: a published file is tested as it is", async (gpu) => {
  await inWorkspace(gpu, async (workspace, model) => {
    const overrides = [`model_id=${model}`, "do_lora=True", "r=2", "lora_alpha=3", "n_test=3"];
    const small = [...overrides, "test_times=1", "max_new_tokens=2"];
    const asked = { path: LIGHTNING, model: "cot", workspace, noLog: true, overrides: small };
    const { result, out } = await captured(() => testCheckpoint(gpu, asked));
    assert.equal(result.num_questions, 3);
    assert.match(out, /lightning\.ckpt: 4 of 6 tensors are used\n(.*\n)*Warning: .*\[PAD\]/);
    const cases: [object, RegExp][] = [
      [{ model: undefined }, /is a file of PyTorch, which does not say how .*: add --model=colar/],
      [{ model: "colar" }, /it has not all of this run's tensors, 'latent_policy\.fc\.0\.weight'/],
      [{ overrides: [...small, "lora_alpha=4"] }, /was trained with lora_alpha 3, this run's is 4/],
    ];
    for (const [change, message] of cases) {
      await captured(() => assert.rejects(testCheckpoint(gpu, { ...asked, ...change }), message));
    }
  });
});
