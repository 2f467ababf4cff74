/**
 * Sampled CoT: a CoT that reinforcement trains on, by the texts that it writes.
 *
 *   row     [question (Thinking speed: 1) ###] [steps ### Answer:a eos], drawn
 *   part    text: log p(token | tokens before it), of each token that was drawn
 *
 * Source: Shao et al., DeepSeekMath, arXiv 2402.03300, whose samples are texts too.
 */
import type { Graph } from "../../../autograd/tape.ts";
import { promptIds } from "../../../data/prompt.ts";
import { boolean } from "../../../io/config_kinds.ts";
import { REINFORCEMENT } from "../../../io/config_schema.ts";
import { packRows } from "../../../llm/tokens.ts";
import { Cot, type CotOptions } from "../../../models/cot.ts";
import type {
  CreateMethod,
  MethodContext,
  Policy,
  PolicyLogProbs,
  Rollout,
  SampleDraw,
} from "../../../models/method.ts";
import { logProbs } from "../../../ops/cross_entropy.ts";
import { embedding } from "../../../ops/embedding.ts";
import { gather } from "../../../ops/gather.ts";

/** Keys of `model_kwargs` that only this method has: `do_rl`, and what reinforcement reads with it. */
export const options = { do_rl: boolean, rl_config: REINFORCEMENT };

interface SampledOptions extends CotOptions {
  readonly do_rl: boolean;
}

interface TextRollout extends Rollout {
  readonly prompt: readonly number[];
}

class TextPolicy implements Policy {
  readonly parts = ["text"];

  constructor(private readonly cot: Cot) {}

  async rollout(questions: readonly string[], draw: SampleDraw): Promise<TextRollout[]> {
    const { seed, sampleIds } = draw;
    const asked = questions.map((question, i) => ({ id: sampleIds[i], question }));
    const answers = await this.cot.answer(asked, { speed: 1, greedy: false, seed });
    const prompts = questions.map((question) => promptIds(this.cot.tokenizer, question, 1));
    return answers.map((answer, i) => ({ answer, prompt: prompts[i] }));
  }

  logProbs(g: Graph, rollouts: readonly TextRollout[]): PolicyLogProbs {
    const { backbone } = this.cot;
    const rows = rollouts.map(({ prompt, answer }) => [...prompt, ...answer.ids]);
    const x = embedding(g, backbone.embeddings, Uint32Array.from(rows.flat())); // [N, D]
    const tokens = packRows(g.scope, rows);
    const { hidden } = backbone.forward(g, x, tokens);
    // A token's probability is read where the token before it stands.
    const before = rollouts.flatMap(({ prompt, answer }, b) =>
      answer.ids.map((_, i) => tokens.offsets[b] + prompt.length + i - 1)
    );
    const drawn = Uint32Array.from(rollouts.flatMap(({ answer }) => answer.ids));
    const states = gather(g, hidden, Uint32Array.from(before));
    const lengths = rollouts.map(({ answer }) => answer.ids.length);
    const text = { logProbs: logProbs(g, states, backbone.head, drawn), lengths };
    return { parts: { text }, numTokens: tokens.numTokens };
  }
}

class SampledCot extends Cot {
  readonly policy: Policy | undefined;

  constructor(context: MethodContext<SampledOptions>) {
    super(context);
    this.policy = context.options.do_rl ? new TextPolicy(this) : undefined;
  }
}

const create: CreateMethod<SampledOptions> = (context) => Promise.resolve(new SampledCot(context));
export default create;
