/** CODI against a float64 recomputation without caches: loss, its parts, and gradients by central differences. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import { answerIds, promptIds, remainingStepsIds } from "../../data/prompt.ts";
import type { CodiConfig } from "../../io/config_schema.ts";
import create, { type Codi, type CodiOptions } from "../../models/codi.ts";
import { gpuTest } from "../check_op.ts";
import { geluErf } from "../reference/gelu.ts";
import { inverseStd } from "../reference/inverse_std.ts";
import { layerNorm } from "../reference/layer_norm.ts";
import { linear } from "../reference/linear.ts";
import { smoothDistance } from "../reference/smooth_l1.ts";
import {
  compareGradients,
  compareLosses,
  join,
  mean,
  type Numbers,
  randomised,
  referenceOf,
} from "./float64_method.ts";
import { ROWS, tinyCodi } from "./tiny_distillation.ts";

// What the configuration gives is what the method takes: checked by the compiler.
const takes = <T>(_options?: T) => {};
takes<CodiOptions>({} as CodiConfig["model_kwargs"]);

/**
 * The losses by the formulas of codi.ts: each row is computed anew for each latent.
 * @param target the teacher's states, which are constants to the gradient, [row][layer]; by default its own
 */
function referenceLosses(
  { backbone, tokenizer }: Codi,
  numbers: Numbers,
  target?: Float64Array[][],
) {
  const D = backbone.hiddenSize;
  const { embed, states: run, surprise } = referenceOf(backbone, numbers);
  const at = (states: Float64Array, token: number) => states.slice(token * D, (token + 1) * D);
  const project = (x: Float64Array) => {
    const layer = (name: string, input: Float64Array) => {
      const weight = numbers.get(`latent_proj.proj.${name}.weight`)!;
      const bias = numbers.get(`latent_proj.proj.${name}.bias`)!;
      return linear({ x: input, weight, bias, m: 1, n: D, k: D });
    };
    const z = layer("2", geluErf(layer("0", x)));
    const [w, b] = ["weight", "bias"].map((part) => numbers.get(`latent_proj.proj.ln.${part}`)!);
    return layerNorm(z, w, b, 1e-5);
  };
  const [taught, learned] = [[] as number[], [] as number[]];
  const [teachers, students] = [[] as Float64Array[][], [] as Float64Array[][]];
  for (const { question, steps, answer } of ROWS) {
    const q = promptIds(tokenizer, question, "auto");
    const a = answerIds(tokenizer, answer);
    const s = remainingStepsIds(tokenizer, steps.slice(0, -1));
    const explained = run(embed([...q, ...s, ...a]));
    taught.push(...surprise(explained, q.length, [...s, ...a]));
    teachers.push(explained.map((states) => at(states, q.length + s.length + 1)));
    let x = embed(q);
    for (let i = 0; i < 3; i++) {
      const last = run(x).at(-1)!.slice(-D);
      x = join(x, project(last));
    }
    const before = x.length / D + 1;
    const answered = run(join(x, embed([tokenizer.separatorId, ...a])));
    learned.push(...surprise(answered, before, a));
    students.push(answered.map((states) => at(states, before + 1)));
  }
  const B = ROWS.length;
  const layers = teachers[0].map((_, layer) => {
    const [t, s] = [target ?? teachers, students].map((all) =>
      join(...all.map((states) => states[layer]))
    );
    return mean([...smoothDistance(s, t, B, 1)]) * inverseStd(t, B, B)[0];
  });
  const parts = {
    teacher_loss: mean(taught),
    student_loss: mean(learned),
    distill_loss: mean(layers),
  };
  return {
    ...parts,
    loss: parts.teacher_loss + parts.student_loss + 20 * parts.distill_loss,
    teachers,
  };
}

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(`codi: loss and gradients are those of float64 (${architecture})`, async (gpu) => {
    using method = await tinyCodi(gpu, {}, architecture);
    const numbers = await randomised(gpu, method);
    using scope = gpu.scope();
    const g = new Graph(gpu, scope);
    const { total, parts } = method.loss(g, ROWS);
    const { teachers, ...expected } = referenceLosses(method, numbers);
    assert.equal(teachers[0].length, 3, "two blocks and what enters the first");
    await compareLosses(gpu, { ...parts, loss: total }, expected);
    g.backward([total]);
    const loss = () => referenceLosses(method, numbers, teachers).loss;
    await compareGradients(gpu, method, numbers, loss);
  });
}

gpuTest("codi: each key changes what it names, and nothing else", async (gpu) => {
  const run = async (changes: Parameters<typeof tinyCodi>[1]) => {
    using method = await tinyCodi(gpu, changes);
    using scope = gpu.scope();
    const { total, parts } = method.loss(new Graph(gpu, scope), ROWS);
    const read = async (name: string) => (await gpu.read(parts[name]))[0];
    const [teacher, student] = [await read("teacher_loss"), await read("student_loss")];
    return {
      teacher,
      student,
      distill: await read("distill_loss"),
      total: (await gpu.read(total))[0],
    };
  };
  const base = await run({});
  const close = (a: number, b: number) => Math.abs(a - b) <= 1e-5 * Math.abs(b);
  for (
    const changes of [{ use_prj: false }, { prj_no_ln: true }, { prj_dim: 8 }, { num_latent: 2 }]
  ) {
    const other = await run(changes);
    assert.equal(other.teacher, base.teacher, JSON.stringify(changes));
    assert.notEqual(other.student, base.student, JSON.stringify(changes));
  }
  const whole = await run({ include_last_cot: true });
  assert.notEqual(whole.teacher, base.teacher);
  assert.equal(whole.student, base.student);
  const plain = await run({ distill_loss_div_std: false });
  assert.deepEqual([plain.teacher, plain.student], [base.teacher, base.student]);
  assert.notEqual(plain.distill, base.distill);
  const weighed = await run({ ref_loss_factor: 0.5, distill_loss_factor: 3 });
  assert.ok(close(weighed.total, 0.5 * base.teacher + base.student + 3 * base.distill));
});

gpuTest("codi: the projector is the published one plus its norm", async (gpu) => {
  using method = await tinyCodi(gpu, { prj_dim: 8 });
  const own = method.parameters.filter(({ name }) => name.startsWith("latent_proj."));
  assert.deepEqual(own.map(({ name, tensor }) => [name, ...tensor.shape]), [
    ["latent_proj.proj.0.weight", 8, 32],
    ["latent_proj.proj.0.bias", 8],
    ["latent_proj.proj.2.weight", 32, 8],
    ["latent_proj.proj.2.bias", 32],
    ["latent_proj.proj.ln.weight", 32],
    ["latent_proj.proj.ln.bias", 32],
  ]);
  assert.equal(method.parameters.length, 6 + 2 * 7 * 2, "all seven modules of both blocks");
  assert.equal(typeof create, "function");
});
