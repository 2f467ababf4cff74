/**
 * Text generation on the device: logits, sampling, embedding and the next cached forward pass are recorded for several
 * tokens before anything is read, because an awaited read costs 10 ms. Between two reads finished rows leave the
 * batch, so they cost nothing from then on.
 */
import { Graph } from "../autograd/tape.ts";
import type { Scope } from "../gpu/pool.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { logits as headLogits } from "../ops/cross_entropy.ts";
import { embedding } from "../ops/embedding.ts";
import { gather } from "../ops/gather.ts";
import { uniforms } from "../ops/random.ts";
import { type Choice, greedy, sample } from "../ops/sample.ts";
import type { Backbone } from "./backbone.ts";
import type { KvCache } from "./kv_cache.ts";

/** How tokens are chosen and when a row ends. */
export interface GenerateOptions {
  readonly maxNewTokens: number;
  /** Ids that end a row; the id itself is part of the output. */
  readonly eosIds: readonly number[];
  /** False: the most probable token. */
  readonly doSample: boolean;
  /** @default {1} */
  readonly temperature?: number;
  /** 0 keeps all. @default {0} */
  readonly topK?: number;
  /** 1 keeps all. @default {1} */
  readonly topP?: number;
  /** Ids that are never chosen. */
  readonly suppressed?: readonly number[];
  /** Random numbers: one for each (row, token) from these keys, whatever else is in the batch. */
  readonly random?: {
    readonly seed: number;
    readonly stream: number;
    /** Identifies a row across batches: the question's number, say. */
    readonly sampleIds: readonly number[];
  };
  /** Recorded uniform numbers in [0, 1) instead: [row][token]. */
  readonly uniforms?: readonly ArrayLike<number>[];
  /** Return log-probabilities under the whole distribution too: costs a small read per token. @default {false} */
  readonly fullLogProbs?: boolean;
  /** Return each step's logits: for tests, costs a read per token. @default {false} */
  readonly keepLogits?: boolean;
}

/** One row's continuation. */
export interface Generated {
  /** New token ids, the end id included. */
  readonly ids: number[];
  /** Log-probability of each id under the distribution it was drawn from. */
  readonly logProbs: number[];
  /** With `fullLogProbs`: the same at temperature 1, nothing filtered or suppressed. */
  readonly fullLogProbs?: number[];
  /** With `keepLogits`: the logits that each id was chosen from, [V]. */
  readonly logits?: Float32Array[];
}

/** Tokens recorded between two reads: the read's 10 ms are then a small part, and a finished row soon leaves. */
const TOKENS_PER_READ = 8;

/**
 * Continues rows of a cache.
 * @param cache holds every row's tokens so far, with room for `maxNewTokens - 1` more
 * @param rows which rows of the cache to continue
 * @param last hidden state of each row's last token, [rows, D]
 * @returns one continuation per row, in the order of `rows`
 */
export async function generate(
  model: Backbone,
  cache: KvCache,
  rows: readonly number[],
  last: Tensor,
  options: GenerateOptions,
): Promise<Generated[]> {
  const { gpu } = model.weights;
  const results: Generated[] = rows.map(() => ({
    ids: [],
    logProbs: [],
    ...(options.fullLogProbs ? { fullLogProbs: [] } : {}),
    ...(options.keepLogits ? { logits: [] } : {}),
  }));
  const ends = new Set(options.eosIds);
  let active = rows.map((_, i) => i); // indices into rows and results
  let hidden = last;
  using chunks = new DisposableStack(); // an error gives their memory back too
  let previous: Scope | undefined;
  for (let done = 0; done < options.maxNewTokens && active.length > 0;) {
    const chunk = chunks.use(gpu.scope());
    const g = new Graph(gpu, chunk, { training: false });
    const count = Math.min(TOKENS_PER_READ, options.maxNewTokens - done);
    const steps = [];
    for (let t = 0; t < count; t++) {
      const isLast = done + t + 1 === options.maxNewTokens;
      const step = chooseTokens(g, model, hidden, active, done + t, options);
      steps.push({
        ids: gpu.readback(step.tokens),
        logProbs: gpu.readback(step.logProb),
        fullLogProbs: options.fullLogProbs ? gpu.readback(step.fullLogProb) : undefined,
        logits: options.keepLogits ? gpu.readback(step.logits) : undefined,
      });
      if (isLast) break;
      const tokens = cache.extend(chunk, active.map((i) => ({ row: rows[i], length: 1 })));
      const x = embedding(g, model.embeddings, step.tokens); // [B, D]
      hidden = model.forward(g, x, tokens, { cache }).hidden;
    }
    gpu.submit();
    for (const step of steps) {
      const [ids, logProbs, fullLogProbs, logits] = await Promise.all(
        [step.ids, step.logProbs, step.fullLogProbs, step.logits].map((read) => read?.data()),
      );
      active.forEach((i, b) => {
        const result = results[i];
        if (ends.has(result.ids.at(-1) ?? -1)) return; // ended within this chunk
        result.ids.push(ids![b]);
        result.logProbs.push(logProbs![b]);
        if (fullLogProbs) result.fullLogProbs!.push(fullLogProbs[b]);
        if (!logits) return;
        const begin = b * logits.length / active.length;
        const row = logits.slice(begin, begin + model.head.shape[0]);
        result.logits!.push(row as Float32Array);
      });
    }
    done += count;
    const kept = active.map((_, b) => b).filter((b) => !ends.has(results[active[b]].ids.at(-1)!));
    previous?.[Symbol.dispose]();
    previous = chunk;
    if (kept.length > 0 && kept.length < active.length) {
      hidden = gather(g, hidden, Uint32Array.from(kept));
    }
    active = kept.map((b) => active[b]);
  }
  return results;
}

function chooseTokens(
  g: Graph,
  model: Backbone,
  hidden: Tensor, // [B, D]
  active: readonly number[],
  position: number,
  options: GenerateOptions,
): Choice & { readonly logits: Tensor } {
  const logits = headLogits(g, hidden, model.head); // [B, V], rows padded
  const { doSample, temperature, topK, topP, suppressed } = options;
  const vocab = model.head.shape[0];
  if (!doSample) return { ...greedy(g, logits, { vocab, suppressed }), logits };
  const u = options.uniforms
    ? g.scope.upload(Float32Array.from(active, (i) => options.uniforms![i][position]))
    : drawUniforms(g, active, position, options);
  return { ...sample(g, logits, u, { vocab, temperature, topK, topP, suppressed }), logits };
}

function drawUniforms(
  g: Graph,
  active: readonly number[],
  position: number,
  { random }: GenerateOptions,
): Tensor {
  if (!random) throw new TypeError("generate: doSample needs random (seed and ids) or uniforms");
  const keys = Uint32Array.from(active.flatMap((i) => [random.sampleIds[i], position]));
  const rows = g.scope.upload(keys, [active.length, 2]);
  return uniforms(g, { seed: random.seed, stream: random.stream, rows });
}
