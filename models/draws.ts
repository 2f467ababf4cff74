/**
 * What random numbers are for: one stream of the counter-based generator (ops/random.ts) for each purpose, so that no
 * two purposes ever share a number. LoRA and the initial weights of a backbone use the streams below 65,536.
 */
import { threefry, type Words } from "../ops/random.ts";

/** Streams by purpose; the comment says what a draw's (sample id, position) is. */
export const STREAMS = {
  /** [PAD]'s row: (0 for the embedding, 1 for the head, 0). */
  padRow: 0x10000,
  /** The compression factor of a batch: (step, 0). */
  compression: 0x10001,
  /** Whether a batch's prompts say `auto`: (step, 0). */
  auto: 0x10002,
  /** The token of a group that is its label: (step, group of the batch). */
  groupLabel: 0x10003,
  /** Noise of the latents in training: (step, latent of the batch). */
  trainedLatent: 0x10004,
  /** Noise of the latents in thinking: (question, latent). */
  latent: 0x10005,
  /** The decision to stop thinking: (question, latent). */
  stop: 0x10006,
  /** Tokens of an answer: (question, token). */
  answer: 0x10007,
  /** Thinking speed of a rollout: (sample of the run, 0). */
  rolloutSpeed: 0x10020,
  /** Noise of the latents in a rollout: (sample of the run, latent). */
  rolloutLatent: 0x10021,
  /** The decision to stop thinking in a rollout: (sample of the run, latent). */
  rolloutStop: 0x10022,
  /** Tokens of a rollout's answer: (sample of the run, token). */
  rolloutAnswer: 0x10023,
  /** Initial values of a module's layers, one stream a tensor from here on: (row, 0). */
  initial: 0x20000,
} as const;

/**
 * Numbers uniform in [-bound, bound), as torch.nn.Linear begins with bound 1 / sqrt(inputs).
 * @param row a row's key, of a stream that is used for nothing else
 */
export function symmetricUniforms(row: Words, count: number, bound: number): Float32Array {
  const out = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const words = threefry(row, [i, 2]);
    for (let j = 0; j < 2 && i + j < count; j++) {
      out[i + j] = (2 * ((words[j] >>> 8) / 2 ** 24) - 1) * bound;
    }
  }
  return out;
}
