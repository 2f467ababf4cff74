/** Coconut on tiny models: latents by stage, switches alone, a batch that pads do not touch, both architectures. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { answerIds, promptIds, remainingStepsIds } from "../../data/prompt.ts";
import type { QsaRow } from "../../data/qsa.ts";
import create, { type Coconut } from "../../models/coconut.ts";
import { gpuTest } from "../check_op.ts";
import {
  compareGradients,
  compareLosses,
  join,
  mean,
  type Numbers,
  randomised,
  referenceOf,
} from "./float64_method.ts";
import { sixRows } from "./tiny_method.ts";
import { RELEASED, tinyCoconut } from "./tiny_stages.ts";

const at = (epoch: number, progress = 0) => ({ seed: 0, step: 0, epoch, progress });

gpuTest("coconut: two latents a stage, six in an answer", async (gpu) => {
  using method = await tinyCoconut(gpu);
  const rows = (await sixRows()).slice(0, 2);
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const latents = (epoch: number) => method.loss(g, rows, at(epoch)).chain.latents.length;
  assert.deepEqual([0, 1, 2, 7].map(latents), [2, 4, 6, 6]);
  const { numTokens, following, chain } = method.loss(g, rows, at(2));
  const lengths = following.map(({ length }) => length);
  assert.equal(numTokens, chain.numTokens + lengths[0] + lengths[1]);
  const options = { speed: "auto", greedy: true, seed: 0 } as const;
  const [answer] = await method.answer([{ id: 0, question: rows[0].question }], options);
  assert.deepEqual(Object.keys(answer), ["output", "ids", "reasoningLength"]);
  assert.equal(answer.reasoningLength, 6);
  assert.deepEqual(method.speeds, ["auto"]);
  assert.throws(() => method.loss(g, [], at(0)), {
    name: "RangeError",
    message: "coconut: a batch needs at least one row",
  });
  await assert.rejects(tinyCoconut(gpu, { stage_ends: [0.4, 0.2] }), { name: "RangeError" });
  assert.equal(typeof create, "function");
});

gpuTest("coconut: the official schedule begins as text without latents", async (gpu) => {
  using method = await tinyCoconut(gpu, { stage_rule: "official" });
  const rows = (await sixRows()).slice(0, 2);
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const numbers = [0, 1, 2, 4, 5].map((epoch) => {
    const { chain, following } = method.loss(g, rows, at(epoch));
    return [chain.latents.length, following[0].length];
  });
  const [text, , first, third, last] = numbers;
  assert.deepEqual(numbers.map(([count]) => count), [0, 0, 2, 6, 6]);
  assert.ok(text[1] > first[1] && third[1] === last[1], `${numbers}`);
});

gpuTest("coconut: stages follow the run where their ends are given", async (gpu) => {
  using method = await tinyCoconut(gpu, { stage_ends: [0.2, 0.4] });
  const rows = (await sixRows()).slice(0, 1);
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const counts = [0, 0.19, 0.2, 0.4, 0.99].map((progress) =>
    method.loss(g, rows, at(0, progress)).chain.latents.length
  );
  assert.deepEqual(counts, [2, 2, 4, 6, 6]);
});

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(
    `coconut: the same bits again, each switch another loss (${architecture})`,
    async (gpu) => {
      const rows = (await sixRows()).slice(2, 5);
      const values = new Set<number>();
      const alone = Object.entries(RELEASED).map(([key, value]) => ({ [key]: value }));
      for (const changes of [{}, ...alone]) {
        using method = await tinyCoconut(gpu, changes, architecture);
        const results = [];
        for (let i = 0; i < 2; i++) {
          using scope = gpu.scope();
          const g = new Graph(gpu, scope);
          for (const { tensor } of method.parameters) gpu.clear(tensor.gradient!);
          const { total } = method.loss(g, rows, at(0));
          g.backward([total]);
          const gradients = await Promise.all(
            method.parameters.map(({ tensor }) => gpu.read(tensor.gradient!)),
          );
          results.push([await gpu.read(total), ...gradients]);
        }
        assert.deepEqual(results[0], results[1]);
        assert.ok(results[0].slice(1).some((gradient) => gradient.some((x) => x !== 0)));
        values.add(results[0][0][0]);
      }
      assert.equal(values.size, 1 + alone.length);
    },
  );
}

/** The loss of two stages' steps by the formula of coconut.ts: each row is computed anew for each latent. */
function referenceLoss(
  { backbone, tokenizer }: Coconut,
  rows: readonly QsaRow[],
  numbers: Numbers,
) {
  const D = backbone.hiddenSize;
  const { embed, states, surprise } = referenceOf(backbone, numbers);
  return mean(rows.flatMap(({ question, steps, answer }) => {
    let x = embed(promptIds(tokenizer, question, "auto"));
    for (let i = 0; i < 4; i++) x = join(x, states(x).at(-1)!.slice(-D));
    const rest = remainingStepsIds(tokenizer, steps.slice(2));
    const following = [...rest, ...answerIds(tokenizer, answer)];
    return surprise(states(join(x, embed(following))), x.length / D, following);
  }));
}

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(`coconut: loss and gradients are those of float64 (${architecture})`, async (gpu) => {
    using method = await tinyCoconut(gpu, {}, architecture);
    const numbers = await randomised(gpu, method);
    const rows = [
      { question: "How many?", steps: ["<<2*3=6>>", "<<6+1=7>>", "<<7-2=5>>"], answer: "5" },
      { question: "a", steps: [], answer: "-5" },
    ];
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const { total, chain } = method.loss(g, rows, at(1));
    assert.equal(chain.latents.length, 4);
    const loss = () => referenceLoss(method, rows, numbers);
    await compareLosses(gpu, { total }, { total: loss() });
    g.backward([total]);
    await compareGradients(gpu, method, numbers, loss, 2);
  });
}
