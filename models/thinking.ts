/**
 * The latent loop: a hidden state gives a Gaussian, its sample times embeds_std is the next input embedding, one cached
 * forward pass gives the next hidden state; a row stops when the next token drawn from it is `###`, or after a fixed
 * number of latents.
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
import { scale } from "../ops/add.ts";
import { logits as headLogits, logProbs } from "../ops/cross_entropy.ts";
import { sampleGaussian } from "../ops/gaussian.ts";
import { gather } from "../ops/gather.ts";
import { normals, uniforms } from "../ops/random.ts";
import { greedy, sample } from "../ops/sample.ts";
import { STREAMS } from "./draws.ts";
import type { Gaussian, LatentHead } from "./latent_head.ts";
import { blockOutputs, type Latent } from "./latent_trace.ts";
import type { Prefilled } from "./prefill.ts";

/** Random numbers of the loop: for rows of the prefilled batch, one call for each latent. */
export interface ThinkingDraws {
  /** Standard normal numbers, [rows, D]. */
  eps(g: Graph, rows: readonly number[], latent: number): Tensor;
  /** Uniform numbers in [0, 1), [rows]. */
  stop(g: Graph, rows: readonly number[], latent: number): Tensor;
}

/** How to think. */
export interface ThinkingOptions {
  readonly maxLatents: number;
  /** True: exactly `maxLatents`, without a decision. @default {false} */
  readonly isFixed?: boolean;
  readonly separatorId: number;
  /** Scale of the embeddings, in whose units the head predicts. */
  readonly embedsStd: number;
  /** Factor of the standard deviation. */
  readonly latentTemperature: number;
  /** Divides the logits of the decision to stop. */
  readonly eolTemperature: number;
  /** Absent: latents are means, and a row stops when `###` is the most probable token. */
  readonly draws: ThinkingDraws | undefined;
  /** Return every latent with its distribution: costs reads. @default {false} */
  readonly trace?: boolean;
  /** With `trace`: blocks whose outputs at the latents are kept, from 1. @default {none} */
  readonly layers?: readonly number[];
}

/** One row's thinking. */
export interface Thought {
  /** #L: latents fed, at least 1. */
  readonly numLatents: number;
  /** Whether `###` was drawn rather than the limit reached or the number fixed. */
  readonly stopped: boolean;
  /** With `trace`, the latents. */
  readonly latents: readonly Latent[];
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
export async function think(
  backbone: Backbone,
  head: LatentHead,
  { cache, rows, last }: Prefilled,
  options: ThinkingOptions,
): Promise<Thought[]> {
  const { gpu } = backbone.weights;
  const begins = rows.map((row) => cache.lengthOf(row));
  const thoughts = rows.map(() => ({ numLatents: 0, stopped: false, latents: [] as Latent[] }));
  let active = rows.map((_, i) => i);
  let hidden = last;
  using chunks = new DisposableStack(); // an error gives their memory back too
  let previous: Scope | undefined;
  for (let done = 0; done < options.maxLatents && active.length > 0;) {
    const chunk = chunks.use(gpu.scope());
    const g = new Graph(gpu, chunk, { training: false });
    const count = Math.min(LATENTS_PER_READ, options.maxLatents - done);
    const steps: Step[] = [];
    for (let t = 0; t < count; t++) {
      const latent = nextLatent(g, head, hidden, active, done + t, options);
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

interface Step {
  readonly next: { data(): Promise<ArrayLike<number>> } | undefined;
  readonly trace: (() => Promise<Latent[]>) | undefined;
}

interface Fed extends Gaussian {
  readonly embeds: Tensor;
}

/** The next input embedding, [B, D], and where it is from. */
function nextLatent(
  g: Graph,
  head: LatentHead,
  hidden: Tensor,
  active: readonly number[],
  latent: number,
  { draws, latentTemperature, embedsStd }: ThinkingOptions,
): Fed {
  const { mean, logStd } = head.forward(g, hidden);
  const z = draws
    ? sampleGaussian(g, mean, logStd, draws.eps(g, active, latent), latentTemperature)
    : mean;
  return { mean, logStd, embeds: scale(g, z, embedsStd) };
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

function readLatent(
  g: Graph,
  backbone: Backbone,
  { embeds, mean, logStd }: Fed,
  result: ForwardResult,
  { separatorId, layers = [] }: ThinkingOptions,
): () => Promise<Latent[]> {
  const [rows, dim] = embeds.shape;
  const labels = new Uint32Array(rows).fill(separatorId);
  const separator = logProbs(g, result.hidden, backbone.head, labels);
  const states = blockOutputs(backbone, result, layers);
  const reads = [embeds, mean, logStd, separator, ...states].map((t) => g.gpu.readback(t));
  return async () => {
    const [e, m, s, p, ...outputs] = await Promise.all(
      reads.map((r) => r.data() as Promise<Float32Array>),
    );
    return Array.from({ length: rows }, (_, b) => ({
      embeds: e.slice(b * dim, (b + 1) * dim),
      mean: m.slice(b * dim, (b + 1) * dim),
      logStd: s.slice(b * dim, (b + 1) * dim),
      separatorLogProb: p[b],
      states: outputs.map((of) => of.slice(b * dim, (b + 1) * dim)),
    }));
  };
}
