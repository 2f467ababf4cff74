/**
 * What a chain of latents costs: a full training step of Coconut on the nano model at its last stage, 16 rows with six
 * latents each, against a step of plain text over rows of the same lengths, as CoT does it.
 */
import { Graph } from "../autograd/tape.ts";
import { arithRows } from "../data/arith.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { resolveConfig } from "../io/config.ts";
import { packRows } from "../llm/tokens.ts";
import type { Coconut } from "../models/coconut.ts";
import { languageLoss } from "../models/language_loss.ts";
import { embedding } from "../ops/embedding.ts";
import { AdamW } from "../training/adamw.ts";
import { buildMethod } from "../training/build.ts";
import { type Bench, listTable, measureRows, type Row, withTarget } from "./rows.ts";

const ROWS = 16;
const LAST_STAGE = { number: 3, numRemoved: Infinity, numReplaced: 3 };
const TARGET = { share: 1 / 3 };

/** Measures both steps; Coconut's share is the time of the plain step over its own. */
export async function benchLatents(bench: Bench): Promise<Row[]> {
  const { gpu } = bench;
  const { config } = await resolveConfig({ model: "coconut" });
  using built = await buildMethod({ gpu, config, workspace: "." });
  const coconut = built.method as Coconut;
  using optimizer = new AdamW(gpu, coconut.parameters, { lr: 1e-4 });
  const rows = arithRows({ split: "train", count: ROWS, variant: "arith", seed: 0 });
  const lengths = lengthsOf(coconut, rows);
  const losses: [string, (g: Graph) => Tensor][] = [
    ["plain text", (g) => plainLoss(g, coconut, lengths)],
    ["Coconut, 6 latents a row", (g) => coconut.stageLoss(g, rows, LAST_STAGE).total],
  ];
  const numTokens = lengths.reduce((sum, { length }) => sum + length, 0);
  const measured = (await measureRows(
    bench,
    "latents",
    losses.map(([name, loss]) => ({
      name: `nano, ${ROWS} rows, ${numTokens} tokens: ${name}`,
      whole: true,
      prepare: () => () => {
        using scope = gpu.scope();
        const g = new Graph(gpu, scope);
        g.backward([loss(g)]);
        optimizer.step();
        optimizer.zeroGrad();
      },
    })),
  )).slice(2);
  const [plain, chained] = measured;
  const result = [plain, withTarget({ ...chained, share: plain.ms / chained.ms }, TARGET)];
  console.log(listTable(result));
  return result;
}

interface Length {
  readonly length: number;
  /** Tokens at the end that are supervised. */
  readonly numSupervised: number;
}

/** Tokens and latents of each of Coconut's rows. */
function lengthsOf(coconut: Coconut, rows: Parameters<Coconut["stageLoss"]>[1]): Length[] {
  using scope = coconut.backbone.weights.gpu.scope();
  const g = new Graph(coconut.backbone.weights.gpu, scope, { training: false });
  const { chain, following } = coconut.stageLoss(g, rows, LAST_STAGE);
  return following.map(({ length }, b) => ({
    length: chain.cache.lengthOf(b),
    numSupervised: length,
  }));
}

/** The language loss of rows of these lengths in one pass. */
function plainLoss(g: Graph, { backbone }: Coconut, rows: readonly Length[]): Tensor {
  const labels = rows.flatMap(({ length, numSupervised }) =>
    Array.from({ length }, (_, i) => i < length - numSupervised ? -100 : 1 + i % 500)
  );
  const ids = Uint32Array.from(labels, (_, i) => 1 + (i * 7919) % 500);
  const x = embedding(g, backbone.embeddings, ids);
  const { hidden } = backbone.forward(g, x, packRows(g.scope, rows));
  return languageLoss(g, backbone, hidden, labels);
}
