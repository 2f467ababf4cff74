/**
 * Latents of a test as a safetensors file: for each run, which tensors they are and where each question's begin.
 *
 *   RUN.offsets   [Q + 1] int64: question q's latents are rows offsets[q] to offsets[q + 1] - 1 of the others
 *   RUN.NAME      [N] or [N, D] float32, the latents of all questions laid end to end (models/latent_trace.ts)
 */
import { dirname } from "node:path";
import { exists } from "./atomic.ts";
import { type TensorData, writeSafetensors } from "./safetensors.ts";

/** The latents of one question. */
export interface QuestionLatents {
  /** N */
  readonly reasoningLength: number;
  /** [N] or [N, D] numbers by name; the same names for every question. */
  readonly trace: Readonly<Record<string, Float32Array<ArrayBuffer>>>;
}

/**
 * Refuses a file that could not be written, before the work that it is for.
 * @throws {RangeError} when its folder is not there.
 */
export async function checkLatentsFile(path: string): Promise<void> {
  if (await exists(dirname(path))) return;
  throw new RangeError(`--save_latents=${path}: no folder ${dirname(path)}; make it first`);
}

/**
 * Writes the file whole.
 * @param runs by name, the questions in the order of the test's rows
 * @param metadata what the runs were made with
 */
export async function saveLatents(
  path: string,
  runs: Readonly<Record<string, readonly QuestionLatents[]>>,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const tensors = new Map<string, TensorData>();
  for (const [run, questions] of Object.entries(runs)) {
    const offsets = new Int32Array(questions.length + 1);
    questions.forEach(({ reasoningLength }, q) => offsets[q + 1] = offsets[q] + reasoningLength);
    tensors.set(`${run}.offsets`, { dtype: "I64", shape: [offsets.length], data: offsets });
    const numLatents = offsets[questions.length];
    for (const name of Object.keys(questions[0]?.trace ?? {})) {
      const data = joined(questions.map(({ trace }) => trace[name]));
      const isScalar = data.length === numLatents;
      const shape = isScalar ? [numLatents] : [numLatents, data.length / numLatents];
      tensors.set(`${run}.${name}`, { dtype: "F32", shape, data });
    }
  }
  await writeSafetensors(path, tensors, new Map(Object.entries(metadata)));
}

function joined(parts: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const out = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let begin = 0;
  for (const part of parts) {
    out.set(part, begin);
    begin += part.length;
  }
  return out;
}
