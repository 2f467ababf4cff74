/** Equal prompts are computed once, and rows go on as if each had been computed by itself. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { generate } from "../../llm/generate.ts";
import { prefill } from "../../models/prefill.ts";
import { sharedPrefill } from "../../models/shared_prefill.ts";
import { assertClose, gpuTest } from "../check_op.ts";
import { countingBackbone } from "../counting_backbone.ts";
import { tinyBackbone } from "./tiny_method.ts";

const A = [5, 9, 200, 31], B = [7, 8];

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(
    `sharedPrefill: ${architecture} goes on from copies as from its own rows`,
    async (gpu) => {
      const backbone = await tinyBackbone(gpu, architecture);
      const prompts = [A, B, A, A];
      const go = async (make: typeof sharedPrefill) => {
        using scope = gpu.scope();
        const g = new Graph(gpu, scope, { training: false });
        const { cache, rows, last } = make(g, backbone, prompts, 6);
        assert.deepEqual(rows.map((row) => cache.lengthOf(row)), [4, 2, 4, 4]);
        const options = { maxNewTokens: 6, eosIds: [], doSample: false };
        const texts = await generate(backbone, cache, rows, last, options);
        return { last: await gpu.read(last), ids: texts.map(({ ids }) => ids) };
      };
      const [shared, own] = [await go(sharedPrefill), await go(prefill)];
      assertClose(shared.last, own.last, 1e-5, "hidden states");
      assert.deepEqual(shared.ids, own.ids);
      assert.deepEqual(shared.ids[0], shared.ids[2]);
      backbone.weights[Symbol.dispose]();
    },
  );
}

gpuTest("sharedPrefill: the backbone sees each distinct prompt once", async (gpu) => {
  const backbone = await tinyBackbone(gpu);
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const seen: number[] = [];
  sharedPrefill(g, countingBackbone(backbone, seen), [A, A, B, A, B], 3);
  assert.deepEqual(seen, [A.length + B.length]);
  await gpu.finish();
  backbone.weights[Symbol.dispose]();
});
