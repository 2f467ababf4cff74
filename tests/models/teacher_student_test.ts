/** The two passes: what each reads, where the `:` is, that neither sees the other, that the question is computed once. */
import assert from "node:assert/strict";
import { Graph } from "../../autograd/tape.ts";
import type { Gpu } from "../../gpu/device.ts";
import { lessonBatch, study, teach } from "../../models/teacher_student.ts";
import { gpuTest } from "../check_op.ts";
import { methodsTokenizer } from "../methods_text.ts";
import { RELEASED, ROWS } from "./tiny_distillation.ts";
import { type Architecture, context } from "./tiny_method.ts";

const CORRECTED = {
  label_pads: false,
  supervise_transition: true,
  position_ids: "mask",
} as const;

Deno.test("lessonBatch: the teacher reads all steps, or all but the last; the student none", async () => {
  const tokenizer = await methodsTokenizer();
  const { separatorId, eosToken } = tokenizer;
  const encode = (text: string) => tokenizer.encode(text);
  const all = lessonBatch(tokenizer, ROWS, true);
  assert.deepEqual(
    all.questions[1],
    encode("Question: a Let's think step by step:(Thinking speed: auto)###"),
  );
  assert.deepEqual(all.explained.map(({ steps }) => steps), [
    encode("<<2*3=6>>###"),
    [separatorId],
    encode("<<7+1=8>>\n<<8-2=6>>###"),
  ]);
  const dropped = lessonBatch(tokenizer, ROWS, false);
  assert.deepEqual(dropped.explained.map(({ steps }) => steps), [
    [separatorId],
    [separatorId],
    encode("<<7+1=8>>###"),
  ]);
  for (const batch of [all, dropped]) {
    assert.deepEqual(batch.answered.map(({ steps }) => steps), ROWS.map(() => [separatorId]));
    const answers = ROWS.map(({ answer }) => encode(`Answer:${answer}${eosToken}`));
    assert.deepEqual(batch.answered.map(({ answer }) => answer), answers);
    assert.deepEqual(batch.explained.map(({ answer }) => answer), answers);
  }
  assert.throws(() => lessonBatch(tokenizer, [], true), {
    name: "RangeError",
    message: "self-distillation: a batch needs at least one row",
  });
});

/** Both passes over some rows: losses, the states at the `:`, numbers of tokens. */
async function passes(
  gpu: Gpu,
  rows: typeof ROWS,
  layout: typeof CORRECTED | typeof RELEASED,
  architecture: Architecture = "llama",
) {
  const { backbone, tokenizer } = await context(gpu, architecture);
  using _weights = backbone.weights;
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const batch = lessonBatch(tokenizer, rows, true);
  const options = { ...layout, padId: tokenizer.padId };
  const student = study(g, backbone, batch, { ...options, numLatents: 2 });
  const teacher = teach(g, backbone, batch, student.cache, options);
  const D = backbone.hiddenSize;
  const read = async ({ result, loss, colons, numTokens }: typeof teacher) => {
    const hidden = await gpu.read(result.hidden);
    const states = Array.from(colons, (token) => hidden.slice(token * D, (token + 1) * D));
    return { loss: (await gpu.read(loss))[0], states, numTokens, colons: [...colons] };
  };
  return { batch, tokenizer, teacher: await read(teacher), student: await read(student) };
}

gpuTest(
  "teach and study: the question is computed once, the `:` is the second of the answer",
  async (gpu) => {
    const { batch, teacher, student } = await passes(gpu, ROWS, CORRECTED);
    const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0);
    const lengths = (rows: typeof batch.answered) =>
      rows.map(({ steps, answer }) => steps.length + answer.length);
    const asked = sum(batch.questions.map(({ length }) => length));
    assert.equal(student.numTokens, asked + 2 * ROWS.length + sum(lengths(batch.answered)));
    // One token of each question stands before what the teacher reads.
    assert.equal(teacher.numTokens, ROWS.length + sum(lengths(batch.explained)));
    let begin = 0;
    batch.explained.forEach(({ steps, answer }, b) => {
      assert.equal(teacher.colons[b], begin + 1 + steps.length + 1);
      begin += 1 + steps.length + answer.length;
    });
    assert.equal(student.colons[0], 2);
  },
);

for (const architecture of ["llama", "gpt2"] as const) {
  gpuTest(`teach and study: rows do not see each other (${architecture})`, async (gpu) => {
    const together = await passes(gpu, ROWS, CORRECTED, architecture);
    for (const [b, row] of ROWS.entries()) {
      const alone = await passes(gpu, [row], CORRECTED, architecture);
      assert.deepEqual(alone.teacher.states[0], together.teacher.states[b]);
      assert.deepEqual(alone.student.states[0], together.student.states[b]);
    }
  });

  gpuTest(
    `study: the student does not see what the teacher reads (${architecture})`,
    async (gpu) => {
      const rows = ROWS.map((row) => ({ ...row, steps: ["<<9*9=81>>", "<<1+1=2>>"] }));
      for (const layout of [CORRECTED, RELEASED]) {
        const one = await passes(gpu, ROWS, layout, architecture);
        const other = await passes(gpu, rows, layout, architecture);
        assert.deepEqual(other.student, one.student);
        assert.notEqual(other.teacher.loss, one.teacher.loss);
      }
    },
  );
}
