/** What every backbone offers, whatever its architecture. */
import type { Graph } from "../autograd/tape.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Lora } from "../ops/linear.ts";
import type { ModelConfig } from "./config.ts";
import type { KvCache } from "./kv_cache.ts";
import type { Tokens } from "./tokens.ts";
import type { Weights } from "./weights.ts";

/** How one forward pass runs. */
export interface ForwardOptions {
  /** Cache that the tokens extend; without one the rows see only themselves. */
  readonly cache?: KvCache;
  /** Keep what enters each layer. @default {false} */
  readonly hiddenStates?: boolean;
  /** Keep only each block's output and recompute the inside in backward. @default {the backbone's} */
  readonly checkpoint?: boolean;
}

/** What one forward pass gives. */
export interface ForwardResult {
  /** After the final norm, [N, D]. */
  readonly hidden: Tensor;
  /** With `hiddenStates`: what enters layer 0, 1, ..., and last the raw output of the last layer. */
  readonly hiddenStates: readonly Tensor[];
}

/** Low-rank updates by module name; see lora.ts. */
export interface Adapter {
  /** The updates that one pass over a graph uses: of a module, if it has one. */
  forPass(g: Graph): Updates;
}

/** The update of a module, if it has one. */
export type Updates = (module: string) => Lora | undefined;

/** What every block of one pass reads. */
export interface Pass {
  readonly tokens: Tokens;
  readonly cache: KvCache | undefined;
  readonly updates: Updates | undefined;
}

/** A language model without its loss: token embeddings, blocks, final norm, and the table of its head. */
export interface Backbone {
  readonly config: ModelConfig;
  readonly weights: Weights;
  readonly hiddenSize: number;
  readonly numLayers: number;
  /** Kv heads * head size: width of the cache. */
  readonly kvWidth: number;
  /** Longest row that it can place. */
  readonly maxPositions: number;
  /** Low-rank updates in use. */
  adapter: Adapter | undefined;
  /** Whether passes that say nothing about it keep only each block's output, and recompute the inside in backward. */
  checkpointsBlocks: boolean;
  /** Token embedding table, [V, D]. */
  readonly embeddings: Tensor;
  /** Table of the output head, [V, D]; the embedding table when tied. */
  readonly head: Tensor;
  /** From embeddings [N, D] of the tokens to hidden states. */
  forward(g: Graph, inputsEmbeds: Tensor, tokens: Tokens, options?: ForwardOptions): ForwardResult;
  /** Where a LoRA adapter may sit: names of linear modules with [out, in] sizes. */
  readonly linearModules: readonly LinearModule[];
}

/** A linear map of the backbone, as PEFT names it. */
export interface LinearModule {
  /** Full module name, `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  readonly numOutputs: number;
  readonly numInputs: number;
}

/**
 * Whether a pass recomputes its blocks in backward.
 * @throws {TypeError} when it extends a cache that is trained through: a recomputed block would append twice.
 */
export function recomputesBlocks(
  { checkpointsBlocks }: Pick<Backbone, "checkpointsBlocks">,
  g: Graph,
  { cache, checkpoint = checkpointsBlocks }: ForwardOptions,
): boolean {
  if (checkpoint && cache && g.training) {
    throw new TypeError(
      "a pass that is trained through a key/value cache cannot be recomputed, its blocks would append twice; " +
        "set activation_checkpointing=False",
    );
  }
  return checkpoint;
}
