/** Rotary tables that grow between two passes of one step. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { packRows } from "../../llm/tokens.ts";
import { IGNORED, languageLoss } from "../../models/language_loss.ts";
import { sum } from "../../ops/add.ts";
import { embedding } from "../../ops/embedding.ts";
import { gpuTest } from "../check_op.ts";
import { tinyBackbone } from "../models/tiny_method.ts";

gpuTest("rotary tables: a pass whose backward is to come outlives a longer one", async (gpu) => {
  const gradient = async (isCovered: boolean) => {
    const model = await tinyBackbone(gpu, "llama", { max_position_embeddings: 2048 });
    using weights = model.weights;
    const name = "model.layers.0.self_attn.q_proj.weight";
    weights.train([name]);
    using scope = gpu.scope();
    const loss = (g: Graph, first: number) => {
      const tokens = packRows(scope, [{ length: 3, positions: [0, 1, 2].map((i) => first + i) }]);
      const x = embedding(g, model.embeddings, Uint32Array.of(5, 6, 7));
      return languageLoss(g, model, model.forward(g, x, tokens).hidden, [IGNORED, 6, 7]);
    };
    if (isCovered) loss(new Graph(gpu, scope, { training: false }), 600);
    const g = new Graph(gpu, scope);
    g.backward([sum(g, [{ x: loss(g, 0), weight: 1 }, { x: loss(g, 600), weight: 1 }])]);
    return await weights.read(name, "gradient");
  };
  const expected = await gradient(true);
  assert.ok(expected.some((d) => d !== 0));
  assert.deepEqual(await gradient(false), expected);
});
