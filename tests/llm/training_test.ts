import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import { loadModel } from "../../io/load_model.ts";
import { packRows } from "../../llm/tokens.ts";
import { crossEntropy } from "../../ops/cross_entropy.ts";
import { embedding } from "../../ops/embedding.ts";
import { gather } from "../../ops/gather.ts";
import { AdamW } from "../../training/adamw.ts";
import { gpuTest } from "../check_op.ts";
import { uniforms } from "../random.ts";

const models = ["llama_gqa_tied_llama3rope", "gpt2"];
const lengths = [7, 19, 1, 30];

interface Run {
  readonly losses: number[];
  /** Most bytes in use during a step. */
  readonly peak: number;
}

/** Ten steps of full training on random rows; every token but the first of a row is supervised. */
async function train(gpu: Gpu, model: string, checkpoint: boolean): Promise<Run> {
  const folder = new URL(`../golden/${model}`, import.meta.url).pathname;
  const backbone = await loadModel(gpu, folder, "f32");
  const parameters = backbone.weights.train()
    .map((tensor) => ({ name: tensor.name, tensor }));
  using optimizer = new AdamW(gpu, parameters, { lr: 1e-2 });
  const next = uniforms(5);
  const losses: number[] = [];
  gpu.pool.resetPeak();
  for (let step = 0; step < 10; step++) {
    const submitsBefore = gpu.encoderNumber;
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const tokens = packRows(scope, lengths.map((length) => ({ length })));
    const ids = Uint32Array.from({ length: tokens.numTokens }, () => Math.floor(97 * next()));
    const { hidden } = backbone.forward(g, embedding(g, backbone.embeddings, ids), tokens, {
      checkpoint,
    });
    const isFirst = (i: number) => tokens.offsets.includes(i);
    const supervised = Uint32Array.from(ids.keys()).filter((i) => !isFirst(i));
    const predicting = gather(g, hidden, supervised.map((i) => i - 1));
    const loss = crossEntropy(g, predicting, backbone.head, supervised.map((i) => ids[i]));
    optimizer.zeroGrad();
    g.backward([loss]);
    optimizer.clipGradNorm(1);
    optimizer.step();
    losses.push((await gpu.read(loss))[0]);
    assert.equal(gpu.encoderNumber - submitsBefore, 1, "submits of a step, the read included");
  }
  const { peak } = gpu.pool.memory;
  backbone.weights[Symbol.dispose]();
  return { losses, peak };
}

for (const model of models) {
  gpuTest(`${model}: a second run of ten steps has bit-identical losses`, async (gpu) => {
    const first = await train(gpu, model, false);
    const second = await train(gpu, model, false);
    assert.deepEqual(second.losses, first.losses);
    assert.ok(first.losses.every(Number.isFinite));
    assert.notEqual(first.losses[9], first.losses[0]);
  });

  gpuTest(`${model}: checkpointing changes no loss and takes less memory`, async (gpu) => {
    const plain = await train(gpu, model, false);
    const checkpointed = await train(gpu, model, true);
    assert.deepEqual(checkpointed.losses, plain.losses);
    assert.ok(checkpointed.peak < plain.peak, `${checkpointed.peak} bytes against ${plain.peak}`);
  });
}
