/**
 * Answers by a fixed number of chained latents: the prompt, the latents, `###`, and the answer's text.
 *
 * As in training every latent attends to the prompt and to the latents before it, and the text goes on with their cache.
 * The published code has no cache while it chains (A1): each latent passes the backbone alone, at position 0 and seeing
 * only itself; prompt, latents and `###` are then computed anew in one pass, from which the text goes on. Its question
 * pass counts the columns of the padded batch, so that its answers depend on what else is in it. That code fails on
 * GPT-2; here it does the same there.
 *
 * Source: the published CoLaR code (models/model_base.py: fixed_length_latent_generate).
 */
import { Graph } from "../autograd/tape.ts";
import { promptIds, type Tokenizer } from "../data/prompt.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone } from "../llm/backbone.ts";
import { generate } from "../llm/generate.ts";
import { KvCache } from "../llm/kv_cache.ts";
import { checkRoom } from "../llm/positions.ts";
import { packRows } from "../llm/tokens.ts";
import { concat } from "../ops/concat.ts";
import { embedding } from "../ops/embedding.ts";
import { gather } from "../ops/gather.ts";
import { type AnswerGeneration, answerOptions } from "./answering.ts";
import { chainLatents, type Projection } from "./latent_chain.ts";
import { blockOutputs, chainTrace } from "./latent_trace.ts";
import type { Answer, AnswerOptions, Question, TracedAnswer, TraceOptions } from "./method.ts";
import type { Prefilled } from "./prefill.ts";

/** What thinks: a model, and how it chains latents. */
export interface ChainThinker {
  readonly backbone: Backbone;
  readonly tokenizer: Tokenizer;
  readonly numLatents: number;
  /** What hidden states go through before they are fed. @default {nothing} */
  readonly project?: Projection;
  /** Whether latents see the prefix (A1). */
  readonly cacheInLatentLoop: boolean;
  readonly generation: AnswerGeneration;
}

/** An answer with the latents before it. */
export interface ChainAnswer extends Answer {
  /** With `trace`: as fed in, [D] each. */
  readonly latents: readonly Float32Array[];
  /** With `layers`: where each latent stands, the outputs of those blocks, [D] each. */
  readonly states: readonly (readonly Float32Array[])[];
}

/**
 * Answers questions.
 * @param trace return every latent: costs reads
 * @param layers with `trace`: blocks whose outputs at the latents are returned, from 1
 * @returns one answer per question, in their order
 */
export async function chainGenerate(
  thinker: ChainThinker,
  questions: readonly Question[],
  options: AnswerOptions,
  trace = false,
  layers: readonly number[] = [],
): Promise<ChainAnswer[]> {
  if (questions.length === 0) return [];
  const { backbone, tokenizer, numLatents, generation } = thinker;
  const { gpu } = backbone.weights;
  using scope = gpu.scope();
  const g = new Graph(gpu, scope, { training: false });
  const prompts = questions.map(({ question }) => promptIds(tokenizer, question, options.speed));
  const think = thinker.cacheInLatentLoop ? thinkWithCache : thinkAlone;
  const { cache, rows, last, latents, states } = think(g, thinker, prompts, trace ? layers : []);
  const reads = trace ? [...latents, ...states.flat()].map((tensor) => gpu.readback(tensor)) : [];
  const texts = await generate(
    backbone,
    cache,
    rows,
    last,
    answerOptions(generation, tokenizer, questions, options),
  );
  const traced = await Promise.all(reads.map((read) => read.data() as Promise<Float32Array>));
  const D = backbone.hiddenSize;
  return texts.map(({ ids }, b) => ({
    output: tokenizer.decode(ids),
    ids,
    reasoningLength: numLatents,
    ...split(traced.map((numbers) => numbers.slice(b * D, (b + 1) * D)), numLatents),
  }));
}

/** Answers questions; what `Method.answer` of a method with chained latents gives. */
export async function chainAnswers(
  thinker: ChainThinker,
  questions: readonly Question[],
  options: AnswerOptions,
): Promise<Answer[]> {
  const answers = await chainGenerate(thinker, questions, options);
  return answers.map(({ output, ids, reasoningLength }) => ({ output, ids, reasoningLength }));
}

/** Answers questions and keeps the latents; what `Method.trace` of a method with chained latents gives. */
export async function chainTraces(
  thinker: ChainThinker,
  questions: readonly Question[],
  { layers, ...options }: TraceOptions,
): Promise<TracedAnswer[]> {
  const answers = await chainGenerate(thinker, questions, options, true, layers);
  return answers.map(({ output, ids, reasoningLength, latents, states }) => ({
    ...{ output, ids, reasoningLength, trace: chainTrace(latents, states, layers) },
  }));
}

/** What was read of one row: its latents, then the states of each. */
function split(numbers: readonly Float32Array[], numLatents: number) {
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

function thinkWithCache(
  g: Graph,
  { backbone, tokenizer, numLatents, project, generation }: ChainThinker,
  prompts: readonly (readonly number[])[],
  layers: readonly number[],
): Thought {
  const room = 1 + generation.max_new_tokens;
  const { cache, rows, latents, passes } = chainLatents(g, backbone, prompts, {
    numLatents,
    project,
    room,
    hiddenStates: layers.length > 0,
  });
  const states = passes.map((pass) => blockOutputs(backbone, pass, layers));
  const tokens = cache.extend(g.scope, rows.map((row) => ({ row, length: 1 })));
  const separators = new Uint32Array(rows.length).fill(tokenizer.separatorId);
  const x = embedding(g, backbone.embeddings, separators);
  const last = backbone.forward(g, x, tokens, { cache }).hidden;
  return { cache, rows, latents, states, last };
}

function thinkAlone(
  g: Graph,
  { backbone, tokenizer, numLatents, project, generation }: ChainThinker,
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
