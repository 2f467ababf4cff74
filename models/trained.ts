/**
 * Which tensors of a backbone are trained, and the names that checkpoints know them by: those of the published state
 * dict, `llm.base_model.model.<module>.lora_A.default.weight` for an adapter, `llm.<name>` for the backbone itself.
 *
 * **Deviations.** The published code trains adapters only. Without one, all of the backbone is trained here but its
 * token embeddings (and a head that shares them), which stay as they are unless `freeze_embeddings` is false: latents
 * are compared to them. GPT-2's matrices, [in, out] in its files, are then stored as they are computed with, [out, in].
 */
import type { Backbone } from "../llm/backbone.ts";
import { LoraAdapter } from "../llm/lora.ts";
import type { TrainedTensor } from "./method.ts";

/** What is trained of a backbone: keys of `model_kwargs`. */
export interface TrainingOptions {
  readonly do_lora: boolean;
  readonly lora_config: {
    readonly r: number;
    readonly lora_alpha: number;
    readonly target_modules: readonly string[] | "all-linear" | null;
    readonly use_rslora?: boolean;
    readonly rank_pattern?: Readonly<Record<string, number>>;
    readonly alpha_pattern?: Readonly<Record<string, number>>;
    readonly lora_dropout?: number;
  };
  readonly freeze_embeddings: boolean;
}

/** The trained part of a backbone; disposing gives back the adapter, if it has one. */
export interface Trained extends Disposable {
  readonly parameters: readonly TrainedTensor[];
}

/**
 * Makes a backbone trainable: an adapter on it, or gradients for its own tensors.
 * @param seed keys the adapter's initial values; null draws none, for a plan of memory
 * @throws {TypeError} for target modules that the model has not, or weights kept in 16 bits that should be trained.
 */
export function trainBackbone(
  backbone: Backbone,
  options: TrainingOptions,
  seed: number | null,
): Trained {
  if (options.do_lora) return trainAdapter(backbone, options, seed);
  const { weights, embeddings } = backbone;
  const names = [...weights.entries].filter(([, tensor]) =>
    !options.freeze_embeddings || tensor !== embeddings
  ).map(([name]) => name);
  const tensors = weights.train(names);
  const parameters = names.map((name, i) => ({ name: `llm.${name}`, tensor: tensors[i] }));
  return { parameters, [Symbol.dispose]: () => {} };
}

function trainAdapter(
  backbone: Backbone,
  { lora_config: { target_modules, ...sizes } }: TrainingOptions,
  seed: number | null,
): Trained {
  const config = { ...sizes, target_modules: target_modules ?? undefined };
  const adapter = new LoraAdapter(backbone.weights.gpu, backbone, config, seed);
  backbone.adapter = adapter;
  const parameters = [...adapter.parameters].map(([name, tensor]) => ({
    name: `llm.${name.replace(/\.weight$/, ".default.weight")}`,
    tensor,
  }));
  return {
    parameters,
    [Symbol.dispose]: () => {
      if (backbone.adapter === adapter) backbone.adapter = undefined;
      adapter[Symbol.dispose]();
    },
  };
}

/**
 * Refuses a backbone whose tables do not have a row for each token.
 * @throws {TypeError} naming both sizes.
 */
export function checkVocabulary(
  { embeddings, head }: Backbone,
  { size }: { readonly size: number },
): void {
  for (const table of [embeddings, head]) {
    if (table.shape[0] === size) continue;
    throw new TypeError(
      `${table} must have ${size} rows, one for each token and [PAD]: call addPadRow first`,
    );
  }
}
