/** A policy without a language model: a sample is one token of eight, drawn from a softmax that is trained. */
import type { Gpu } from "../../gpu/device.ts";
import type { Policy, Rollout, TrainedTensor } from "../../models/method.ts";
import { logProbs } from "../../ops/cross_entropy.ts";
import { rowKey, uniformOf } from "../../ops/random.ts";
import { normals } from "../random.ts";

const [VOCAB, DIM] = [8, 4];
const STREAM = 77;

interface ToyRollout extends Rollout {
  readonly token: number;
}

/** The policy, its parameter, and the probabilities that it draws from. */
export interface Toy extends Disposable {
  readonly policy: Policy;
  readonly parameters: readonly TrainedTensor[];
  probabilities(): Promise<number[]>;
}

/**
 * A toy.
 * @param keeps whether a rollout keeps its log-probability
 */
export function toyPolicy(gpu: Gpu, keeps = true): Toy {
  const scope = gpu.scope();
  const weight = scope.upload(normals(4, VOCAB * DIM), [VOCAB, DIM], "weight");
  weight.gradient = scope.zeros([VOCAB, DIM]);
  const probabilities = async () => {
    const numbers = await gpu.read(weight);
    const logits = Array.from(
      { length: VOCAB },
      (_, v) => numbers.subarray(v * DIM, (v + 1) * DIM).reduce((a, b) => a + b, 0),
    );
    const total = logits.reduce((sum, x) => sum + Math.exp(x), 0);
    return logits.map((x) => Math.exp(x) / total);
  };
  const policy: Policy = {
    parts: ["answer"],
    async rollout(questions, { seed, sampleIds }) {
      const p = await probabilities();
      return questions.map((_, i): ToyRollout => {
        let u = uniformOf(rowKey(seed, STREAM, sampleIds[i], 0));
        const token = p.findIndex((x) => (u -= x) < 0);
        return {
          token,
          answer: { output: `Answer:${token}`, ids: [token], reasoningLength: 1 + token },
          ...keeps ? { logProbs: { answer: Float32Array.of(Math.log(p[token])) } } : {},
        };
      });
    },
    logProbs(g, rollouts) {
      const tokens = Uint32Array.from(rollouts as readonly ToyRollout[], ({ token }) => token);
      const ones = g.scope.upload(new Float32Array(tokens.length * DIM).fill(1), [
        tokens.length,
        DIM,
      ]);
      const lengths = rollouts.map(() => 1);
      return {
        parts: { answer: { logProbs: logProbs(g, ones, weight, tokens), lengths } },
        numTokens: tokens.length,
      };
    },
  };
  return {
    policy,
    parameters: [{ name: "weight", tensor: weight }],
    probabilities,
    [Symbol.dispose]: () => scope[Symbol.dispose](),
  };
}
