/**
 * A step of reinforcement on the embedded model: 32 questions, 8 samples each, minibatches of 8.
 *
 * The CoLaR is untrained, so it answers nothing right: half of the samples are called right, so that every sample has
 * an advantage and is trained on, the most that a step can cost. Thinking and answers have a fixed length, about that
 * of a trained one at speed 3.
 */
import { arithRows } from "../data/arith.ts";
import type { Gpu } from "../gpu/device.ts";
import { resolveConfig } from "../io/config.ts";
import type { Rollout } from "../models/method.ts";
import { AdamW } from "../training/adamw.ts";
import { buildMethod } from "../training/build.ts";
import { GrpoStep } from "../training/grpo_step.ts";
import { reinforcementOf } from "../training/question_sample.ts";

const [QUESTIONS, SAMPLES, MINIBATCH, LATENTS, TOKENS] = [32, 8, 8, 8, 6];

/** A step that can be run again and again. */
export interface ReinforcementBench extends Disposable {
  readonly name: string;
  /** Runs one step to its end. */
  run(): Promise<void>;
}

/** Builds the method and its step. */
export async function reinforcementBench(gpu: Gpu): Promise<ReinforcementBench> {
  const overrides = [
    ...["do_rl=True", `group_size=${SAMPLES}`, `exp_batch_size=${MINIBATCH}`],
    ...[`batch_size=${QUESTIONS}`, `val_batch_size=${QUESTIONS * SAMPLES}`],
    ...[`n_latent_forward=${LATENTS}`, `max_new_tokens=${TOKENS}`],
  ];
  const { config } = await resolveConfig({ model: "colar", overrides });
  using memory = new DisposableStack();
  const { method } = memory.use(await buildMethod({ gpu, config, workspace: "." }));
  const optimizer = memory.use(new AdamW(gpu, method.parameters, { lr: 1e-6 }));
  let numScored = 0;
  const isRight = (_row: unknown, _rollout: Rollout) => numScored++ % 2 === 0;
  const [policy, rl] = [method.policy!, reinforcementOf(config)!];
  const step = new GrpoStep({ gpu, policy, optimizer, config, rl, isRight });
  const rows = arithRows({ split: "train", count: QUESTIONS, variant: "arith" });
  const batch = { rows, numbers: rows.map((_, i) => i) };
  let done = 0;
  const kept = memory.move();
  return {
    name: `nano, CoLaR, reinforcement step, ${QUESTIONS} x ${SAMPLES} samples by ${MINIBATCH}, ` +
      `${LATENTS} latents, ${TOKENS} tokens`,
    run: async () => {
      const place = { step: done, batch: done++, epoch: 0, progress: 0, lr: 1e-6 };
      await (await step.run([batch], place)).values();
    },
    [Symbol.dispose]: () => kept.dispose(),
  };
}
