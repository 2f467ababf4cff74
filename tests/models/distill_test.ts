/** Distill on tiny models: switches, gradients, answers that do not depend on the batch. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { DistillConfig } from "../../io/config_schema.ts";
import create, { type Distill, type DistillOptions } from "../../models/distill.ts";
import { gpuTest } from "../check_op.ts";
import { RELEASED, ROWS, tinyDistill } from "./tiny_distillation.ts";

// What the configuration gives is what the method takes: checked by the compiler.
const takes = <T>(_options?: T) => {};
takes<DistillOptions>({} as DistillConfig["model_kwargs"]);

/** Losses of one batch by name, read back. */
async function losses(gpu: Gpu, method: Distill): Promise<Record<string, number>> {
  using scope = gpu.scope();
  const { total, parts } = method.loss(new Graph(gpu, scope), ROWS);
  const found: Record<string, number> = {};
  for (const [name, tensor] of Object.entries({ total, ...parts })) {
    [found[name]] = await gpu.read(tensor);
  }
  return found;
}

gpuTest("distill: each key changes what it names, and nothing else", async (gpu) => {
  const run = async (changes: Parameters<typeof tinyDistill>[1]) => {
    using method = await tinyDistill(gpu, changes);
    return await losses(gpu, method);
  };
  const base = await run({});
  assert.deepEqual(Object.keys(base), ["total", "teacher_loss", "student_loss", "distill_loss"]);
  const changed = async (changes: Parameters<typeof tinyDistill>[1], ...expected: string[]) => {
    const other = await run(changes);
    const found = Object.keys(base).slice(1).filter((name) => other[name] !== base[name]);
    assert.deepEqual(found, expected.map((name) => `${name}_loss`), JSON.stringify(changes));
    return other;
  };
  await changed({ distill_proj: false }, "student", "distill");
  await changed({ proj_layer_norm: true }, "student", "distill");
  await changed({ n_latents: 1 }, "student", "distill");
  await changed({ distill_loss_div_std: true }, "distill");
  await changed({ include_last_cot: false }, "teacher", "distill");
  await changed({ label_pads: RELEASED.label_pads }, "teacher", "student");
  await changed({ supervise_transition: RELEASED.supervise_transition }, "teacher", "student");
  await changed({ cache_in_latent_loop: false });
  const weighed = await changed({ alpha: 0.5, beta: 2, gamma: 3 });
  const { teacher_loss, student_loss, distill_loss } = base;
  const expected = 0.5 * teacher_loss + 2 * student_loss + 3 * distill_loss;
  assert.ok(Math.abs(weighed.total - expected) <= 1e-5 * expected);
});

gpuTest(
  "distill: positions that count pads move a Llama's rows as one, and a GPT-2's not",
  async (gpu) => {
    const run = async (position_ids: "mask" | "as-released", architecture: "llama" | "gpt2") => {
      using method = await tinyDistill(gpu, { position_ids }, architecture);
      return await losses(gpu, method);
    };
    // The student has no pads between its segments, so on Llama only the rotation's rounding differs.
    const [llama, moved] = [await run("mask", "llama"), await run("as-released", "llama")];
    assert.ok(Math.abs(moved.student_loss - llama.student_loss) <= 1e-5 * llama.student_loss);
    assert.ok(Math.abs(moved.teacher_loss - llama.teacher_loss) > 1e-4);
    const [gpt2, other] = [await run("mask", "gpt2"), await run("as-released", "gpt2")];
    assert.ok(Math.abs(other.student_loss - gpt2.student_loss) > 1e-4);
  },
);

gpuTest("distill: what cannot be meant is refused", async (gpu) => {
  await assert.rejects(tinyDistill(gpu, { distill_proj: false, proj_layer_norm: true }), {
    name: "RangeError",
    message:
      "proj_layer_norm is True, but distill_proj is False: the norm is the projector's last layer; " +
      "set distill_proj=True or proj_layer_norm=False",
  });
  await assert.rejects(tinyDistill(gpu, { alpha: 0, beta: 0, gamma: 0 }), {
    name: "RangeError",
    message: "alpha, beta and gamma are all 0: there is nothing to train; set one of them",
  });
  assert.equal(typeof create, "function");
});
