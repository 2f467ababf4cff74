/** A method without a language model: a quadratic loss on the device, and answers that depend on what was learned. */
import { type Config, resolveConfig } from "../../io/config.ts";
import { Report } from "../../io/report.ts";
import type { RunLog } from "../../io/run_log.ts";
import type { QsaRow } from "../../data/qsa.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Method } from "../../models/method.ts";
import { mse } from "../../ops/mse.ts";
import { normalOf, rowKey, uniformOf } from "../../ops/random.ts";
import { normals } from "../random.ts";

/** What may be odd about it. */
export interface FakeOptions {
  readonly speeds?: Method["speeds"];
  /** The batch whose loss is NaN. */
  readonly badBatch?: number;
  /** Added to the names of its tensors. */
  readonly prefix?: string;
}

/**
 * Two tensors that approach the mean of their batches' targets, which rows and draws decide. A question is answered
 * right with a probability that grows as `w` leaves its initial values.
 */
export function fakeMethod(gpu: Gpu, options: FakeOptions = {}): Method {
  const { speeds = [2, 5], badBatch = -1, prefix = "" } = options;
  const scope = gpu.scope();
  const shapes = [["w", [3, 8]], ["b", [1, 5]]] as const;
  const parameters = shapes.map(([name, shape], i) => {
    const tensor = scope.upload(normals(10 + i, shape[0] * shape[1]), shape, `${prefix}${name}`);
    tensor.gradient = scope.zeros(shape);
    return { name: `${prefix}${name}`, tensor };
  });
  return {
    backbone: undefined as unknown as Method["backbone"],
    tokenizer: undefined as unknown as Method["tokenizer"],
    parameters,
    speeds,
    loss(g, rows, { seed, step, epoch, progress }) {
      const losses = parameters.map(({ tensor }, i) => {
        const [numRows, dim] = tensor.shape;
        const target = new Float32Array(tensor.size);
        const middle = 2 + 0.01 * (epoch + progress);
        for (const row of rows) {
          const key = rowKey(seed, i, step, Number(row.answer));
          target.forEach((_, j) => target[j] += (middle + 0.1 * normalOf(key, j)) / rows.length);
        }
        if (step === badBatch) target[0] = NaN;
        return mse(g, tensor, g.scope.upload(target, [numRows, dim]));
      });
      return { total: losses[0], parts: { w_loss: losses[0], b_loss: losses[1] }, numTokens: 7 };
    },
    async answer(questions, { speed, greedy, seed }) {
      const learned = (await gpu.read(parameters[0].tensor)).slice(0, 8);
      const distance = learned.reduce((sum, x) => sum + Math.abs(x - 2), 0) / 8;
      return questions.map(({ id, question }) => {
        const draw = uniformOf(rowKey(greedy ? 0 : seed, 9, id, Number(speed)));
        const answer = draw > distance / 2 ? question : "wrong";
        return {
          output: `Answer:${answer}`,
          ids: [1, 2, id],
          reasoningLength: Number(speed) + id % 3,
        };
      });
    },
    [Symbol.dispose]: () => scope[Symbol.dispose](),
  };
}

/** Rows whose question is their answer. */
export function fakeRows(count: number): QsaRow[] {
  return Array.from({ length: count }, (_, i) => ({ question: `${i}`, steps: [], answer: `${i}` }));
}

/** The CoT configuration with small numbers, then arguments. */
export async function fakeConfig(...overrides: string[]): Promise<Config> {
  const small = ["max_steps=null", "max_epochs=3", "epoch_scaling=1", "batch_size=4", "lr=0.05"];
  return (await resolveConfig({ model: "cot", overrides: [...small, ...overrides] })).config;
}

/** A report that prints nothing, and the steps that it was given. */
export function quietReport(): {
  report: Report;
  steps: Record<string, unknown>[];
  lines: string[];
} {
  const steps: Record<string, unknown>[] = [];
  const lines: string[] = [];
  const log: RunLog = {
    folder: undefined,
    checkpoints: undefined,
    line: (text) => void lines.push(text),
    step: (step, values) => void steps.push({ step, ...values }),
    test: () => Promise.resolve(),
    sync() {},
    [Symbol.dispose]() {},
  };
  return { report: new Report(log, true), steps, lines };
}
