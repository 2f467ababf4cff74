/**
 * SmolLM2-135M-Instruct, a real Llama checkpoint in bf16, against numbers from PyTorch. It is too large for the
 * repository: SMOLLM2_DIR names a folder in Hub layout, GOLDEN_DIR one with smollm2.json (unset: shared/golden beside the
 * project, where it is); skipped without them.
 */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { loadModel } from "../../io/load_model.ts";
import { loadTokenizer } from "../../io/tokenizer.ts";
import { generate } from "../../llm/generate.ts";
import { KvCache } from "../../llm/kv_cache.ts";
import { logits as headLogits } from "../../ops/cross_entropy.ts";
import { embedding } from "../../ops/embedding.ts";
import { gather } from "../../ops/gather.ts";
import { testGpu } from "../check_op.ts";
import { realFolder } from "../real_files.ts";

interface Prompt {
  readonly name: string;
  readonly text: string;
  readonly token_ids: number[];
  readonly next_top5: { readonly id: number; readonly logit: number }[];
  readonly next_logsumexp: number;
  readonly all_positions_argmax: number[];
  readonly greedy_ids: number[];
  readonly greedy_text: string;
  readonly greedy_smallest_margin: number;
  readonly final_hidden_last_position_first8: number[];
}

const folder = Deno.env.get("SMOLLM2_DIR");
const goldenFolder = await realFolder("GOLDEN_DIR", "golden");
const missing = !folder || !goldenFolder;
if (missing) console.log("SmolLM2: skipped, SMOLLM2_DIR or GOLDEN_DIR names no folder");

Deno.test({
  name: "SmolLM2-135M: logits, hidden states and greedy text of PyTorch",
  ignore: missing,
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const gpu = await testGpu();
    const golden = JSON.parse(await Deno.readTextFile(`${goldenFolder}/smollm2.json`));
    const model = await loadModel(gpu, folder!);
    const tokenizer = await loadTokenizer(folder!);
    for (const prompt of golden.prompts as Prompt[]) {
      assert.deepEqual(tokenizer.encode(prompt.text), prompt.token_ids, prompt.name);
      using scope = gpu.scope();
      const g = new Graph(gpu, scope, { training: false });
      const length = prompt.token_ids.length;
      const newTokens = prompt.greedy_ids.length;
      const cache = new KvCache(scope, model, [length + newTokens]);
      const tokens = cache.extend(scope, [{ row: 0, length }]);
      const x = embedding(g, model.embeddings, Uint32Array.from(prompt.token_ids));
      const { hidden } = model.forward(g, x, tokens, { cache });
      const vocab = model.head.shape[0];
      const all = await gpu.read(headLogits(g, hidden, model.head));
      const row = (i: number) => all.subarray(i * vocab, (i + 1) * vocab);
      const argmax = (values: Float32Array) =>
        values.indexOf(values.reduce((a, b) => Math.max(a, b)));
      const mine = prompt.token_ids.map((_, i) => argmax(row(i)));
      assert.deepEqual(mine, prompt.all_positions_argmax, `${prompt.name}: argmax everywhere`);
      const last = row(length - 1);
      for (const { id, logit } of prompt.next_top5) {
        assert.ok(Math.abs(last[id] - logit) < 2e-3, `${prompt.name}: ${last[id]} for ${logit}`);
      }
      const best = Math.max(...last);
      const logSumExp = best + Math.log(last.reduce((sum, l) => sum + Math.exp(l - best), 0));
      assert.ok(Math.abs(logSumExp - prompt.next_logsumexp) < 2e-3);
      const start = gather(g, hidden, Uint32Array.of(length - 1));
      const state = await gpu.read(start);
      prompt.final_hidden_last_position_first8.forEach((h, i) =>
        assert.ok(Math.abs(state[i] - h) < 2e-3, `${prompt.name}: hidden ${state[i]} for ${h}`)
      );
      const options = { maxNewTokens: newTokens, eosIds: [], doSample: false };
      const [continued] = await generate(model, cache, [0], start, options);
      if (prompt.greedy_smallest_margin > 4e-3) {
        assert.deepEqual(continued.ids, prompt.greedy_ids, `${prompt.name}: greedy ids`);
        console.log(`SmolLM2 ${prompt.name}: ${JSON.stringify(tokenizer.decode(continued.ids))}`);
      }
    }
  },
});
