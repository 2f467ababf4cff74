/** Chains of latents: gradients through the growing cache, rows that do not see each other, room and positions. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { chainLatents, continueChain, type Projection } from "../../models/latent_chain.ts";
import { layFollowing } from "../../models/segments.ts";
import { trainBackbone } from "../../models/trained.ts";
import { gpuTest } from "../check_op.ts";
import { type Architecture, context, modelOptions } from "./tiny_method.ts";
import type { Gpu } from "../../gpu/device.ts";

const QUESTIONS = [[11, 12, 13, 14, 15], [21, 22, 23]];
const ROWS = [{ steps: [31, 32], answer: [33] }, { steps: [41], answer: [42, 43] }];
const LAYOUT = { label_pads: false, supervise_transition: true, position_ids: "mask" } as const;
const NUM_LATENTS = 3;

/** The loss behind three latents, and the model that it trains. */
async function chained(gpu: Gpu, architecture: Architecture) {
  const { backbone } = await context(gpu, architecture);
  const trained = trainBackbone(backbone, modelOptions({ do_lora: false }), 1);
  const loss = (g: Graph, rows = [0, 1], project?: Projection) => {
    const following = layFollowing(rows.map((b) => ROWS[b]), { ...LAYOUT, column: 8, padId: 0 });
    const room = following.map(({ length }) => length);
    const questions = rows.map((b) => QUESTIONS[b]);
    const chain = chainLatents(g, backbone, questions, { numLatents: NUM_LATENTS, room, project });
    return { chain, ...continueChain(g, backbone, chain, following) };
  };
  const gradients = async (project?: Projection) => {
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    for (const { tensor } of trained.parameters) gpu.clear(tensor.gradient!);
    g.backward([loss(g, [0, 1], project).loss]);
    return await Promise.all(trained.parameters.map(({ tensor }) => gpu.read(tensor.gradient!)));
  };
  return { backbone, trained, loss, gradients };
}

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(
    `latent chain: gradients are those of central differences (${architecture})`,
    async (gpu) => {
      const { trained, loss, gradients } = await chained(gpu, architecture);
      using _trained = trained;
      const value = async () => {
        using scope = gpu.scope();
        const g = new Graph(gpu, scope, { training: false });
        return (await gpu.read(loss(g).loss))[0];
      };
      const found = await gradients();
      let checked = 0;
      for (const [i, { name, tensor }] of trained.parameters.entries()) {
        const norm = Math.hypot(...found[i]);
        if (norm < 0.05) continue; // its difference would drown in the rounding of the loss
        const start = await gpu.read(tensor);
        const along = async (step: number) => {
          gpu.write(tensor, start.map((x, j) => x + step * found[i][j] / norm));
          return await value();
        };
        const slope = async (h: number) => (await along(h) - await along(-h)) / (2 * h);
        const h = 0.02 / Math.max(1, norm);
        const difference = (4 * await slope(h / 2) - await slope(h)) / 3;
        gpu.write(tensor, start);
        assert.ok(
          Math.abs(difference - norm) <= 5e-3 * norm,
          `${name}: ${difference}, not ${norm}`,
        );
        checked++;
      }
      assert.ok(checked >= 10, `${checked} tensors checked`);
    },
  );

  gpuTest(
    `latent chain: without its gradient the loss is another (${architecture})`,
    async (gpu) => {
      const { trained, gradients } = await chained(gpu, architecture);
      using _trained = trained;
      const whole = (await gradients()).flatMap((x) => [...x]);
      const cut = (await gradients((g, hidden) => g.stopGradient(hidden))).flatMap((x) => [...x]);
      const off = Math.hypot(...whole.map((x, i) => x - cut[i]));
      assert.ok(off > 0.02 * Math.hypot(...whole), `${off}`);
    },
  );
}

gpuTest(
  "latent chain: each latent is the state before it, and a row sees itself only",
  async (gpu) => {
    const { trained, loss, backbone } = await chained(gpu, "llama");
    using _trained = trained;
    using scope = gpu.scope();
    const g = new Graph(gpu, scope, { training: false });
    const both = loss(g);
    const D = backbone.hiddenSize;
    assert.deepEqual([both.chain.column, both.chain.numTokens], [5 + 3, 5 + 3 + 2 * 3]);
    assert.deepEqual(both.chain.rows.map((row) => both.chain.cache.lengthOf(row)), [11, 9]);
    const last = await gpu.read(both.chain.last);
    const sums: number[] = [];
    for (const b of [0, 1]) {
      const alone = loss(g, [b]);
      for (let i = 0; i < NUM_LATENTS; i++) {
        const pair = await gpu.read(both.chain.latents[i]);
        assert.deepEqual(await gpu.read(alone.chain.latents[i]), pair.slice(b * D, (b + 1) * D));
      }
      // One latent fewer ends in the state that is the last latent.
      const shorter = chainLatents(g, backbone, [QUESTIONS[b]], { numLatents: 2, room: 0 });
      assert.deepEqual(await gpu.read(shorter.last), await gpu.read(alone.chain.latents[2]));
      assert.deepEqual(await gpu.read(alone.chain.last), last.slice(b * D, (b + 1) * D));
      sums.push((await gpu.read(alone.loss))[0]);
    }
    const [mean] = await gpu.read(both.loss);
    assert.ok(Math.abs((sums[0] + sums[1]) / 2 - mean) < 1e-5 * mean, "three labels each");
  },
);

gpuTest(
  "latent chain: column positions differ from counted ones only where rows are padded",
  async (gpu) => {
    const { trained, backbone } = await chained(gpu, "gpt2");
    using _trained = trained;
    using scope = gpu.scope();
    const g = new Graph(gpu, scope, { training: false });
    const [mask, columns] = (["mask", "as-released"] as const).map((positions) =>
      chainLatents(g, backbone, QUESTIONS, { numLatents: 2, room: 0, positions })
    );
    const D = backbone.hiddenSize;
    const [a, b] = [await gpu.read(mask.last), await gpu.read(columns.last)];
    assert.deepEqual(a.slice(0, D), b.slice(0, D));
    assert.notDeepEqual(a.slice(D), b.slice(D));
  },
);
