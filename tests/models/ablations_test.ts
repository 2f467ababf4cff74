/** The ablations of CoLaR's supervised stage, each with each other: whatever is not refused has a loss and a gradient. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import { gpuTest } from "../check_op.ts";
import { type ColarChanges, sixRows, tinyColar } from "./tiny_method.ts";

const ABLATIONS: Readonly<Record<string, ColarChanges>> = {
  DL: { lp_deterministic: true },
  NLL: { embed_modeling_loss: "nll" },
  second: { pred_embed_forward_weight: 1 },
  OC: { pred_compressed_cot: false },
  MP: { sqrt_mean: false },
};

/** The losses of a step, and the largest gradient of each trained tensor. */
async function step(gpu: Gpu, changes: ColarChanges) {
  using method = await tinyColar(gpu, { max_compression_factor: "3,3", ...changes });
  using scope = gpu.scope();
  const g = new Graph(gpu, scope);
  const rows = (await sixRows()).slice(0, 2);
  const { total, parts } = method.loss(g, rows, { seed: 1, step: 0, epoch: 0, progress: 0 });
  g.backward([total]);
  const losses: Record<string, number> = {};
  for (const [name, tensor] of Object.entries({ total, ...parts })) {
    [losses[name]] = await gpu.read(tensor);
  }
  const gradients: Record<string, number> = {};
  for (const { name, tensor } of method.parameters) {
    const numbers = await gpu.read(tensor.gradient!);
    gradients[name] = numbers.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  }
  return { losses, gradients };
}

gpuTest(
  "colar: every combination of DL, NLL, second pass, OC and MP that is not refused trains",
  async (gpu) => {
    const names = Object.keys(ABLATIONS);
    const totals = new Set<number>();
    for (let bits = 0; bits < 2 ** names.length; bits++) {
      const on = names.filter((_, i) => bits >> i & 1);
      if (on.includes("DL") && on.includes("NLL")) continue; // io/config_rules.ts refuses it
      const changes = Object.assign({}, ...on.map((name) => ABLATIONS[name]));
      const { losses, gradients } = await step(gpu, changes);
      assert.ok(Object.values(losses).every(Number.isFinite), `${on}: ${JSON.stringify(losses)}`);
      assert.equal("pred_embed_forward_loss" in losses, on.includes("second"), `${on}`);
      const still = Object.entries(gradients).filter(([name, most]) =>
        !(most > 0 && most < 1e4) && !name.includes("lora_A") // its partner begins with zeros
      );
      assert.deepEqual(still, [], `${on}`);
      assert.equal("latent_policy.log_std.weight" in gradients, !on.includes("DL"), `${on}`);
      totals.add(losses.total);
    }
    assert.equal(totals.size, 24, "each ablation changes the loss");
  },
);

gpuTest("colar: a loss needs a term, but that of reinforcement has its own", async (gpu) => {
  const none = { ce_weight: 0, embed_modeling_weight: 0 };
  await assert.rejects(tinyColar(gpu, none), {
    name: "RangeError",
    message: /^ce_weight, embed_modeling_weight, .* are all 0: there is nothing to train; set one/,
  });
  using reinforced = await tinyColar(gpu, { ...none, do_rl: true });
  assert.ok(reinforced.policy);
  using one = await tinyColar(gpu, { ce_weight: 0 });
  assert.equal(one.policy, undefined);
});

gpuTest(
  "colar: a deterministic head under nll, which is refused, has the loss that its reason says",
  async (gpu) => {
    const { losses } = await step(gpu, { ...ABLATIONS.DL, ...ABLATIONS.NLL });
    assert.ok(losses.embed_modeling_loss > 1e16, `${losses.embed_modeling_loss}`);
  },
);
