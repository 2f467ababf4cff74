/**
 * Answers by chained latents that see only themselves, as the published code makes them (A1).
 *
 * It has no cache while it chains: each latent passes the backbone alone, at position 0; prompt, latents and `###` are
 * then computed anew in one pass, from which the text goes on. Its question pass counts the columns of the padded batch,
 * so that its answers depend on what else is in it. That code fails on GPT-2; here it does the same there.
 *
 * Source: the published CoLaR code (models/model_base.py: fixed_length_latent_generate).
 */
import { Graph } from "../autograd/tape.ts";
import type { Tokenizer } from "../data/prompt.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone } from "../llm/backbone.ts";
import { generate } from "../llm/generate.ts";
import { KvCache } from "../llm/kv_cache.ts";
import { checkRoom } from "../llm/positions.ts";
import { packRows } from "../llm/tokens.ts";
import { concat } from "../ops/concat.ts";
import { embedding } from "../ops/embedding.ts";
import { gather } from "../ops/gather.ts";
import { type AnswerGeneration, answerOptions, promptsOf } from "./answering.ts";
import { chainLatents, type Projection } from "./latent_chain.ts";
import { blockOutputs, type ChainedLatents } from "./latent_trace.ts";
import type { Answer, AnswerOptions, Question } from "./method.ts";
import type { Prefilled } from "./prefill.ts";

/** What thinks. */
export interface AloneThinker {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  readonly numLatents: number;
  /** What hidden states go through before they are fed. @default {nothing} */
  readonly project?: Projection;
  readonly generation: AnswerGeneration;
}

/**
 * Answers questions, at least one.
 * @param trace return every latent
 * @param layers with `trace`: blocks whose outputs at the latents are returned, from 1
 * @returns one answer per question, in their order
 */
export async function generateAlone(
  thinker: AloneThinker,
  questions: readonly Question[],
  options: AnswerOptions,
  trace: boolean,
  layers: readonly number[],
): Promise<(Answer & ChainedLatents)[]> {
  const { backbone, tokenizer, numLatents, generation } = thinker;
  const { gpu } = backbone.weights;
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const prompts = promptsOf(tokenizer, questions, options);
  const { cache, rows, last, latents, states } = think(g, thinker, prompts, layers);
  const reads = trace ? [...latents, ...states.flat()].map((tensor) => gpu.readback(tensor)) : [];
  const choice = answerOptions(generation, tokenizer, questions, options);
  const texts = await generate(backbone, cache, rows, last, choice);
  const traced = await Promise.all(reads.map((read) => read.data() as Promise<Float32Array>));
  const D = backbone.hiddenSize;
  return texts.map(({ ids }, b) => ({
    output: tokenizer.decode(ids),
    ids,
    reasoningLength: numLatents,
    ...split(traced.map((numbers) => numbers.slice(b * D, (b + 1) * D)), numLatents),
  }));
}

/** What was read of one row: its latents, then the states of each. */
function split(numbers: readonly Float32Array[], numLatents: number): ChainedLatents {
  const perLatent = numbers.length / numLatents - 1;
  const states = Array.from({ length: numLatents }, (_, i) => {
    const begin = numLatents + i * perLatent;
    return numbers.slice(begin, begin + perLatent);
  });
  return { latents: numbers.slice(0, numLatents), states };
}

/** Where the text goes on, after `###`. */
interface Thought extends Prefilled {
  /** As fed in, [B, D] each. */
  readonly latents: readonly Tensor[];
  /** Where each latent stands, the outputs of the blocks asked for, [B, D] each. */
  readonly states: readonly (readonly Tensor[])[];
}

function think(
  g: Graph,
  { backbone, tokenizer, numLatents, project, generation }: AloneThinker,
  prompts: readonly (readonly number[])[],
  layers: readonly number[],
): Thought {
  const room = numLatents + 1 + generation.max_new_tokens;
  checkRoom(backbone, prompts.map(({ length }) => ({ length, last: length - 1, room })));
  const { rows, last: asked } = chainLatents(g, backbone, prompts, {
    numLatents: 0,
    room: 0,
    positions: "as-released",
  });
  const latents: Tensor[] = [];
  for (let i = 0, state = asked; i < numLatents; i++) {
    const latent = project ? project(g, state) : state;
    latents.push(latent);
    if (i + 1 === numLatents) break;
    const alone = packRows(g.scope, rows.map(() => ({ length: 1 })));
    state = backbone.forward(g, latent, alone).hidden;
  }
  // One table of all that is fed: the prompts' tokens, the latents, and last ###.
  const ids = Uint32Array.from([...prompts.flat(), tokenizer.separatorId]);
  const words = embedding(g, backbone.embeddings, ids);
  const table = concat(g, [words, ...latents]);
  const numPrompt = ids.length - 1;
  let begin = 0;
  const order = prompts.flatMap(({ length }, b) => {
    const own = Array.from({ length }, () => begin++);
    const fed = latents.map((_, i) => ids.length + i * rows.length + b);
    return [...own, ...fed, numPrompt];
  });
  const lengths = prompts.map(({ length }) => length + numLatents + 1);
  const cache = new KvCache(
    g.scope,
    backbone,
    lengths.map((length) => length + generation.max_new_tokens),
  );
  const tokens = cache.extend(g.scope, lengths.map((length, row) => ({ row, length })));
  const x = gather(g, table, Uint32Array.from(order));
  const pass = backbone.forward(g, x, tokens, { cache, hiddenStates: layers.length > 0 });
  const outputs = blockOutputs(backbone, pass, layers);
  const states = latents.map((_, i) => {
    const places = Uint32Array.from(prompts, ({ length }, b) => tokens.offsets[b] + length + i);
    return outputs.map((output) => gather(g, output, places));
  });
  const ends = tokens.offsets.slice(1).map((end) => end - 1);
  return { cache, rows, latents, states, last: gather(g, pass.hidden, ends) };
}
