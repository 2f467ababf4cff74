/**
 * The latent loop: a hidden state proposes the next input embedding, one cached forward pass gives the next hidden state;
 * a row stops when the next token, the most probable or drawn, is `###`, or after a fixed number of latents.
 *
 *   drawn    N(mean, std) from the latent head, its sample or mean times embeds_std (CoLaR): latent_head.ts
 *   chained  the hidden state itself, or what a projection makes of it (Coconut, Distill, CODI): chain_generate.ts
 *
 * Several latents are recorded before anything is read, because an awaited read costs 10 ms. What a row computes in
 * such a chunk after it stopped is forgotten: its cache is cut back to the latent that stopped it, and it leaves the
 * batch.
 *
 * Source: the published CoLaR code (models/model_base.py: latent_generate), arXiv 2505.16552.
 */
import { Graph } from "../autograd/tape.ts";
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Backbone, ForwardResult } from "../llm/backbone.ts";
import { logits as headLogits, logProbs } from "../ops/cross_entropy.ts";
import { gather } from "../ops/gather.ts";
import { normals, uniforms } from "../ops/random.ts";
import { greedy, sample } from "../ops/sample.ts";
import { STREAMS } from "./draws.ts";
import { blockOutputs, type GaussianPart, type Latent } from "./latent_trace.ts";
import type { Prefilled } from "./prefill.ts";

/** Random numbers of the loop: for rows of the prefilled batch, one call for each latent. */
export interface ThinkingDraws {
  /** Standard normal numbers, [rows, D]. */
  eps(g: Graph, rows: readonly number[], latent: number): Tensor;
  /** Uniform numbers in [0, 1), [rows]. */
  stop(g: Graph, rows: readonly number[], latent: number): Tensor;
}

/** A proposed latent of each row. */
export interface Proposal<K extends string> {
  /** What is fed, [B, D]. */
  readonly embeds: Tensor;
  /** What a trace keeps of it besides, [B, D] each. */
  readonly kept: Readonly<Record<K, Tensor>>;
}

/**
 * Makes the next latent of hidden states.
 * @param hidden after the final norm, [B, D]
 * @param rows of the prefilled batch, which key draws
 * @param latent its number, from 0
 */
export type Propose<K extends string> = (
  g: Graph,
  hidden: Tensor,
  rows: readonly number[],
  latent: number,
) => Proposal<K>;

/** How to think. */
export interface ThinkingOptions {
  readonly maxLatents: number;
  /** True: exactly `maxLatents`, without a decision. @default {false} */
  readonly isFixed?: boolean;
  readonly separatorId: number;
  /** Divides the logits of the decision to stop. */
  readonly eolTemperature: number;
  /** Absent: a row stops when `###` is the most probable token. */
  readonly draws: Pick<ThinkingDraws, "stop"> | undefined;
  /** Return every latent with its distribution: costs reads. @default {false} */
  readonly trace?: boolean;
  /** With `trace`: blocks whose outputs at the latents are kept, from 1. @default {none} */
  readonly layers?: readonly number[];
}

/** One row's thinking. */
export interface Thought<K extends string = GaussianPart> {
  /** #L: latents fed, at least 1. */
  readonly numLatents: number;
  /** Whether `###` was drawn rather than the limit reached or the number fixed. */
  readonly stopped: boolean;
  /** With `trace`, the latents. */
  readonly latents: readonly Latent<K>[];
}

/** Latents recorded between two reads; a row that stops inside wastes the rest. */
const LATENTS_PER_READ = 4;

/**
 * Numbers keyed by (seed, question, latent): they do not depend on the batch.
 * @param streams of the latents' noise and of the decisions
 */
export function keyedDraws(
  hiddenSize: number,
  seed: number,
  questionIds: readonly number[],
  streams: { readonly latent: number; readonly stop: number } = STREAMS,
): ThinkingDraws {
  const keys = (g: Graph, rows: readonly number[], latent: number) => {
    const words = rows.flatMap((row) => [questionIds[row], latent]);
    return g.scope.upload(Uint32Array.from(words), [rows.length, 2]);
  };
  return {
    eps: (g, rows, latent) => {
      const draw = { seed, stream: streams.latent, rows: keys(g, rows, latent) };
      return normals(g, [rows.length, hiddenSize], draw);
    },
    stop: (g, rows, latent) =>
      uniforms(g, { seed, stream: streams.stop, rows: keys(g, rows, latent) }),
  };
}

/**
 * Thinks; afterwards each row of the cache ends with its last latent.
 * @returns one thought per row
 */
export async function think<K extends string>(
  backbone: Backbone,
  propose: Propose<K>,
  { cache, rows, last }: Prefilled,
  options: ThinkingOptions,
): Promise<Thought<K>[]> {
  const { gpu } = backbone.weights;
  const begins = rows.map((row) => cache.lengthOf(row));
  const thoughts = rows.map(() => ({ numLatents: 0, stopped: false, latents: [] as Latent<K>[] }));
  let active = rows.map((_, i) => i);
  let hidden = last;
  using chunks = new DisposableStack(); // an error gives their memory back too
  let previous: Scope | undefined;
  for (let done = 0; done < options.maxLatents && active.length > 0;) {
    const chunk = chunks.use(gpu.scope());
    const g = new Graph(gpu, chunk, { training: false });
    const count = Math.min(LATENTS_PER_READ, options.maxLatents - done);
    const steps: Step<K>[] = [];
    for (let t = 0; t < count; t++) {
      const latent = propose(g, hidden, active, done + t);
      const tokens = cache.extend(chunk, active.map((i) => ({ row: rows[i], length: 1 })));
      const hiddenStates = options.layers !== undefined;
      const result = backbone.forward(g, latent.embeds, tokens, { cache, hiddenStates });
      hidden = result.hidden;
      const next = options.isFixed
        ? undefined
        : decide(g, backbone, hidden, active, done + t, options);
      steps.push({
        next: next && gpu.readback(next),
        trace: options.trace ? readLatent(g, backbone, latent, result, options) : undefined,
      });
    }
    gpu.submit();
    for (const { next, trace } of steps) {
      const [ids, latents] = await Promise.all([next?.data(), trace?.()]);
      active.forEach((i, b) => {
        const thought = thoughts[i];
        if (thought.stopped) return; // within this chunk
        thought.numLatents++;
        thought.stopped = ids?.[b] === options.separatorId;
        if (latents) thought.latents.push(latents[b]);
      });
    }
    done += count;
    const kept = active.map((_, b) => b).filter((b) => !thoughts[active[b]].stopped);
    for (const i of active) cache.truncate(rows[i], begins[i] + thoughts[i].numLatents);
    previous?.[Symbol.dispose]();
    previous = chunk;
    if (kept.length > 0 && kept.length < active.length) {
      hidden = gather(g, hidden, Uint32Array.from(kept));
    }
    active = kept.map((b) => active[b]);
  }
  return thoughts;
}

interface Step<K extends string> {
  readonly next: { data(): Promise<ArrayLike<number>> } | undefined;
  readonly trace: (() => Promise<Latent<K>[]>) | undefined;
}

/** The token that would follow, u32 [B], from the full distribution. */
function decide(
  g: Graph,
  backbone: Backbone,
  hidden: Tensor,
  active: readonly number[],
  latent: number,
  { draws, eolTemperature }: ThinkingOptions,
): Tensor {
  const logits = headLogits(g, hidden, backbone.head);
  const vocab = backbone.head.shape[0];
  if (!draws) return greedy(g, logits, { vocab }).tokens;
  const numbers = draws.stop(g, active, latent);
  return sample(g, logits, numbers, { vocab, temperature: eolTemperature }).tokens;
}

function readLatent<K extends string>(
  g: Graph,
  backbone: Backbone,
  { embeds, kept }: Proposal<K>,
  result: ForwardResult,
  { separatorId, layers = [] }: ThinkingOptions,
): () => Promise<Latent<K>[]> {
  const [rows, dim] = embeds.shape;
  const labels = new Uint32Array(rows).fill(separatorId);
  const separator = logProbs(g, result.hidden, backbone.head, labels);
  const states = blockOutputs(backbone, result, layers);
  const names = Object.keys(kept) as K[];
  const tensors = [separator, embeds, ...names.map((name) => kept[name]), ...states];
  const reads = tensors.map((tensor) => g.gpu.readback(tensor));
  return async () => {
    const [separatorLogProbs, ...read] = await Promise.all(
      reads.map((r) => r.data() as Promise<Float32Array>),
    );
    return Array.from({ length: rows }, (_, b) => {
      const [fed, ...rest] = read.map((of) => of.slice(b * dim, (b + 1) * dim));
      const parts = names.map((name, i) => [name, rest[i]] as const);
      return {
        ...Object.fromEntries(parts) as Record<K, Float32Array>,
        embeds: fed,
        separatorLogProb: separatorLogProbs[b],
        states: rest.slice(names.length),
      };
    });
  };
}
