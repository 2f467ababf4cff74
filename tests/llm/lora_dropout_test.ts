/** What an adapter's dropout depends on: seed, batch, pass and module, in training alone. */
import assert from "node:assert/strict";
import { Graph, type GraphDraw } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import { LoraAdapter } from "../../llm/lora.ts";
import { packRows } from "../../llm/tokens.ts";
import { mse } from "../../ops/mse.ts";
import { embedding } from "../../ops/embedding.ts";
import { gpuTest } from "../check_op.ts";
import { type Architecture, tinyBackbone } from "../models/tiny_method.ts";
import { normals } from "../random.ts";

const LORA = { r: 2, lora_alpha: 4, target_modules: "all-linear" } as const;
const IDS = Uint32Array.of(5, 17, 300, 42, 9, 111, 2);

/** A tiny model with an adapter whose B is not zero. */
async function adapted(gpu: Gpu, architecture: Architecture, lora_dropout?: number) {
  const model = await tinyBackbone(gpu, architecture);
  const adapter = new LoraAdapter(gpu, model, { ...LORA, lora_dropout }, 3);
  [...adapter.parameters].forEach(([name, { size }], i) => {
    if (name.includes("lora_B")) adapter.write(name, normals(50 + i, size, 0.3));
  });
  model.adapter = adapter;
  return { model, adapter };
}

type Adapted = Awaited<ReturnType<typeof adapted>>;

/** Hidden states of as many passes over one graph. */
async function hidden(
  gpu: Gpu,
  { model }: Adapted,
  options: { readonly training?: boolean; readonly draw?: GraphDraw },
  numPasses = 1,
): Promise<Float32Array[]> {
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, options);
  const passes = Array.from({ length: numPasses }, () => {
    const tokens = packRows(scope, [{ length: 3 }, { length: 4 }]);
    return model.forward(g, embedding(g, model.embeddings, IDS), tokens).hidden;
  });
  return await Promise.all(passes.map((x) => gpu.read(x)));
}

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(`LoRA dropout, ${architecture}: a function of seed, batch and pass`, async (gpu) => {
    const dropping = await adapted(gpu, architecture, 0.2);
    const all = [
      ...await hidden(gpu, dropping, { draw: { seed: 1, step: 4 } }, 2),
      ...await hidden(gpu, dropping, { draw: { seed: 1, step: 5 } }),
      ...await hidden(gpu, dropping, { draw: { seed: 2, step: 4 } }),
      ...await hidden(gpu, dropping, { training: false }),
    ];
    assert.equal(new Set(all.map((x) => x.join())).size, 5, "each is another");
    const [first, second] = await hidden(gpu, dropping, { draw: { seed: 1, step: 4 } }, 2);
    assert.deepEqual([first, second], all.slice(0, 2));
    const plain = await adapted(gpu, architecture);
    assert.deepEqual(await hidden(gpu, plain, { training: false }), [all[4]]);
    assert.deepEqual(await hidden(gpu, plain, {}), [all[4]], "without dropout no draw is needed");
    await assert.rejects(
      hidden(gpu, dropping, {}),
      /^TypeError: lora_dropout is 0\.2, but nothing/,
    );
  });

  gpuTest(`LoRA dropout, ${architecture}: a recomputed block drops the same`, async (gpu) => {
    const dropping = await adapted(gpu, architecture, 0.2);
    const { model, adapter } = dropping;
    const gradients = async (checkpoint: boolean) => {
      using scope = gpu.scope();
      const g = new Graph(gpu, scope, { draw: { seed: 1, step: 4 } });
      for (const { gradient } of adapter.parameters.values()) gpu.clear(gradient!);
      const tokens = packRows(scope, [{ length: IDS.length }]);
      const x = embedding(g, model.embeddings, IDS);
      const result = model.forward(g, x, tokens, { checkpoint });
      const target = scope.upload(normals(9, result.hidden.size), result.hidden.shape);
      g.backward([mse(g, result.hidden, target)]);
      return await Promise.all(
        [...adapter.parameters.values()].map(({ gradient }) => gpu.read(gradient!)),
      );
    };
    const kept = await gradients(false);
    assert.ok(kept.every((numbers) => numbers.some((x) => x !== 0)));
    assert.deepEqual(await gradients(true), kept);
  });
}

gpuTest(
  "LoRA dropout: every module of a pass has a key of its own; 0 drops nothing",
  async (gpu) => {
    using scope = gpu.scope();
    const { adapter } = await adapted(gpu, "llama", 0.2);
    const g = new Graph(gpu, scope, { draw: { seed: 1, step: 4 } });
    const keys = [adapter.forPass(g), adapter.forPass(g)].flatMap((updates) =>
      adapter.modules.map((module) => updates(module)!.dropout!.key.join())
    );
    assert.equal(new Set(keys).size, 2 * adapter.modules.length);
    const { adapter: plain } = await adapted(gpu, "llama", 0);
    for (const module of plain.modules) {
      assert.equal(plain.forPass(g)(module), plain.get(module)); // no key: no kernel runs
    }
  },
);
