/** `activation_checkpointing`: losses and gradients stay what they are, for every method that does not train through a cache. */
import assert from "node:assert/strict";
import { configNames, resolveConfig } from "../../io/config.ts";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import { buildMethod } from "../../training/build.ts";
import { loadData } from "../../training/load_data.ts";
import { gpuTest } from "../check_op.ts";
import { inWorkspace } from "./tiny_model.ts";

const CHEAPER: Readonly<Record<string, readonly string[]>> = {
  colar: ["lp_intermediate_size=8", "embed_modeling_loss=nll", "pred_embed_forward_weight=1"],
};
/** Whose training chains passes through a key/value cache; all others are compared. */
const CACHED = ["coconut", "codi", "distill"];

/** A batch's loss and the gradients of all that is trained. */
async function gradients(gpu: Gpu, name: string, modelId: string, isOn: boolean, doLora: boolean) {
  const overrides = [
    ...["n_train=4", "n_val=1", "n_test=1", `model_id=${modelId}`, `do_lora=${doLora}`, "r=4"],
    ...["lora_dropout=0.1", `activation_checkpointing=${isOn}`, ...CHEAPER[name] ?? []],
  ];
  const { config } = await resolveConfig({ model: name, overrides });
  const { train } = await loadData(config, ".");
  using built = await buildMethod({ gpu, config, workspace: "." });
  const { method } = built;
  using scope = gpu.scope();
  const draw = { seed: 3, step: 0, epoch: 0, progress: 0 };
  const g = new Graph(gpu, scope, { draw });
  const { total } = method.loss(g, train, draw);
  g.backward([total]);
  const read = method.parameters.map(({ tensor }) => gpu.read(tensor.gradient!));
  return [await gpu.read(total), ...await Promise.all(read)];
}

for (const name of await configNames("models")) {
  if (CACHED.includes(name)) {
    gpuTest(`activation_checkpointing: ${name} refuses it in one line`, async (gpu) => {
      await inWorkspace(gpu, async (_, model) => {
        await assert.rejects(gradients(gpu, name, model, true, true), {
          name: "TypeError",
          message:
            "a pass that is trained through a key/value cache cannot be recomputed, its blocks would append twice; " +
            "set activation_checkpointing=False",
        });
      });
    });
    continue;
  }
  for (const doLora of [true, false]) {
    gpuTest(`activation_checkpointing: ${name}, do_lora=${doLora}: the same bits`, async (gpu) => {
      await inWorkspace(gpu, async (_, model) => {
        const plain = await gradients(gpu, name, model, false, doLora);
        const recomputed = await gradients(gpu, name, model, true, doLora);
        assert.deepEqual(recomputed, plain);
        assert.ok(plain[0][0] > 0 && plain.slice(1).some((d) => d.some((x) => x !== 0)));
      });
    });
  }
}
