/**
 * The tokens of a CoLaR batch, rows laid end to end: [question] [groups] [### answer], for both passes.
 *
 * A token is a row of one of three tables: the embeddings of plain tokens, the pooled embeddings of groups, and in the
 * second pass the sampled latents. Of the pads that the published batch has between question and groups all are equal
 * and only the last is ever used: the first group's label is predicted from it (B12). So a row keeps one pad, and only
 * where its label counts; it also keeps the pad that the released layout may put behind its last group (A14).
 */
import { colarAnswerIds, colarStepsIds, questionIds, type Tokenizer } from "../data/prompt.ts";
import type { QsaRow } from "../data/qsa.ts";
import type { RowTokens } from "../llm/tokens.ts";
import type { LatentCotOptions } from "./colar_options.ts";
import { type GroupLayout, groupSteps, type RowGroups } from "./compression.ts";
import { IGNORED } from "./language_loss.ts";
import type { ThinkingSpeed } from "./method.ts";

/** Where a token's embedding comes from. */
type Table = "plain" | "pooled" | "sampled";

/** One token. */
interface Token {
  readonly from: Table;
  readonly index: number;
  /** 0: a pad. */
  readonly visible: 0 | 1;
  readonly label: number;
}

/** A pad whose embedding is zero: the empty group. */
const ZEROS: Token = { from: "pooled", index: 0, visible: 0, label: IGNORED };

/** One row's tokens by segment. */
interface Row {
  readonly question: readonly Token[];
  /** The pad before the groups, if it is kept. */
  readonly before: Token | undefined;
  readonly groups: readonly Token[];
  /** The pad behind them, if there is one. */
  readonly after: Token | undefined;
  /** Begins with `###`. */
  readonly answer: readonly Token[];
  /** Column of the first group in the steps segment of the padded batch. */
  readonly column: number;
}

/** One pass of a batch. */
export interface Pass {
  readonly rows: readonly RowTokens[];
  /** [N]: row of [plain; pooled; sampled] that each token's embedding is. */
  readonly sources: Uint32Array;
  /** [N] labels, `IGNORED` where there is none. */
  readonly labels: Int32Array;
}

/** A token from whose hidden state the latent head predicts the next embedding. */
export interface LatentPlace {
  readonly row: number;
  /** Column in the steps segment of the padded batch. */
  readonly column: number;
  /** Index of the packed token in the first pass. */
  readonly token: number;
  /** False: a pad, which no latent loss counts. */
  readonly isGroup: boolean;
}

/** A batch. */
export interface ColarBatch {
  /** Ids of the tokens that are embedded one by one. */
  readonly plainIds: Uint32Array;
  /** Ids of the tokens that are pooled. */
  readonly pooledIds: Uint32Array;
  /** [G + 1]: group i pools pooledIds from offset i to offset i + 1; group 0 is empty: the zeros of a pad. */
  readonly groupOffsets: Uint32Array;
  readonly first: Pass;
  readonly second: Pass | undefined;
  /** Rows in order, columns in order; sampled latent i belongs to place i. */
  readonly latents: readonly LatentPlace[];
}

/** What a batch is laid out by: the draws of one step, and switches of `latent_cot_config`. */
export interface BatchOptions {
  readonly compression: number;
  readonly speed: ThinkingSpeed;
  /** Which token of a group is its label: an index below `size`. `column` as in the padded batch. */
  labelChoice(row: number, column: number, size: number): number;
  readonly layout: GroupLayout;
  readonly superviseSteps: boolean;
  readonly maskSeparator: boolean;
  /** How the second pass is laid out; absent without one. */
  readonly second?: {
    readonly index: "as-released" | "clean";
    readonly labels: "steps_and_answer" | "answer";
  };
}

/** The switches of a configuration that lay out its batches. */
export function layoutOf(
  config: LatentCotOptions,
): Pick<BatchOptions, "layout" | "superviseSteps" | "maskSeparator" | "second"> {
  const hasSecond = config.pred_embed_forward_weight > 0;
  return {
    layout: config.layout,
    superviseSteps: config.pred_compressed_cot,
    maskSeparator: config.mask_separator_label,
    second: hasSecond
      ? { index: config.second_pass_index, labels: config.second_pass_labels }
      : undefined,
  };
}

/**
 * Lays out a batch.
 * @throws {RangeError} without rows, for a compression below 1 or a label choice outside its group.
 */
export function layBatch(
  tokenizer: Tokenizer,
  rows: readonly QsaRow[],
  options: BatchOptions,
): ColarBatch {
  if (rows.length === 0) throw new RangeError("colar: a batch needs at least one row");
  const steps = rows.map((row) => colarStepsIds(tokenizer, row.steps));
  const grouped = groupSteps(steps, options.compression, options.layout);
  const tables = new Tables(options.compression > 1, tokenizer.padId);
  const laid = rows.map(({ question, answer }, row): Row => {
    const asked = questionIds(tokenizer, question, options.speed).map((id) => tables.plain(id));
    const { before, groups, after } = grouped[row];
    const labels = groupLabels(grouped[row], row, options);
    return {
      question: asked,
      before: before > 0 && labels[0] !== IGNORED ? tables.pad() : undefined,
      groups: groups.map((ids, i) => tables.group(ids, labels[i])),
      after: after > 0 ? tables.pad() : undefined,
      answer: colarAnswerIds(tokenizer, answer).map((id) => tables.plain(id, id)),
      column: before,
    };
  });
  const firstRows = laid.map(joined);
  const places = latentPlaces(laid, options.second?.index === "as-released");
  const second = options.second && secondPass(laid, places, options.second);
  const flatten = (tokens: readonly (readonly Token[])[]) => tables.flatten(tokens);
  return {
    plainIds: Uint32Array.from(tables.plainIds),
    pooledIds: Uint32Array.from(tables.pooledIds),
    groupOffsets: Uint32Array.from(tables.groupOffsets),
    first: flatten(firstRows),
    second: second && flatten(second),
    latents: places.flat(),
  };
}

function groupLabels({ groups, before }: RowGroups, row: number, options: BatchOptions): number[] {
  return groups.map((ids, i) => {
    if (!options.superviseSteps || (i === 0 && options.maskSeparator)) return IGNORED;
    const choice = options.labelChoice(row, before + i, ids.length);
    if (choice in ids) return ids[choice];
    throw new RangeError(
      `colar: label choice ${choice} of row ${row}, column ${
        before + i
      } must be an integer below ` +
        `${ids.length}, the tokens of its group`,
    );
  });
}

const joined = ({ question, before, groups, after, answer }: Row): Token[] => [
  ...question,
  ...(before ? [before] : []),
  ...groups,
  ...(after ? [after] : []),
  ...answer,
];

/** Places of every row's latents; those of pads only where the second pass feeds them. */
function latentPlaces(rows: readonly Row[], withPads: boolean): LatentPlace[][] {
  let end = 0;
  return rows.map(({ question, before, groups, after, answer, column }, row) => {
    const begin = end + question.length; // of the steps segment
    const steps = [...(before ? [before] : []), ...groups, ...(after ? [after] : [])];
    const firstColumn = column - (before ? 1 : 0);
    end = begin + steps.length + answer.length;
    return steps.map((token, i) => ({
      row,
      column: firstColumn + i,
      token: begin + i,
      isGroup: token.visible === 1,
    })).filter(({ isGroup }) => isGroup || withPads);
  });
}

/**
 * The second pass, in which sampled latents stand for the groups.
 *
 * `clean`: `###` in the first group's column, in each later one the sample of the column before. `as-released` (A17):
 * `###` in column 0, visible, then in each column, pads included, its own sample.
 */
function secondPass(
  rows: readonly Row[],
  places: readonly (readonly LatentPlace[])[],
  { index, labels }: NonNullable<BatchOptions["second"]>,
): Token[][] {
  let numSamples = 0;
  return rows.map((row, r) => {
    const label = (token: Token) => labels === "answer" ? IGNORED : token.label;
    const samples = places[r].map(({ column }): [number, number] => [column, numSamples++]);
    const sampleOf = new Map(samples);
    const sampled = (token: Token, column: number): Token => ({
      ...token,
      from: "sampled",
      index: sampleOf.get(column)!,
      label: label(token),
    });
    const separator: Token = { ...row.answer[0], label: IGNORED };
    const { question, before, groups, after, answer, column: first } = row;
    const pads = before ? [before] : [];
    if (index === "clean") {
      const start = { ...separator, label: label(groups[0]) };
      const rest = groups.slice(1).map((token, i) => sampled(token, first + i));
      const kept = labels === "answer" ? [] : pads.map(() => ZEROS);
      return [...question, ...kept, start, ...rest, ...(after ? [ZEROS] : []), ...answer];
    }
    const tail = after ? [sampled(after, first + groups.length)] : [];
    if (first === 0) {
      const start = { ...separator, label: label(groups[0]) };
      const rest = groups.slice(1).map((token, i) => sampled(token, 1 + i));
      return [...question, start, ...rest, ...tail, ...answer];
    }
    // With one column of pads, ### takes the place of the pad.
    const kept = first > 1 ? pads.map((token) => sampled(token, first - 1)) : [];
    const rest = groups.map((token, i) => sampled(token, first + i));
    return [...question, separator, ...kept, ...rest, ...tail, ...answer];
  });
}

/** The tables that grow while rows are laid out. */
class Tables {
  readonly plainIds: number[] = [];
  readonly pooledIds: number[] = [];
  readonly groupOffsets = [0, 0];

  /** @param compressed false: groups of one token are that token's embedding, pads that of [PAD] */
  constructor(private readonly compressed: boolean, private readonly padId: number) {}

  plain(id: number, label = IGNORED): Token {
    return { from: "plain", index: this.plainIds.push(id) - 1, visible: 1, label };
  }

  group(ids: readonly number[], label: number): Token {
    if (!this.compressed) return this.plain(ids[0], label);
    this.pooledIds.push(...ids);
    this.groupOffsets.push(this.pooledIds.length);
    return { from: "pooled", index: this.groupOffsets.length - 2, visible: 1, label };
  }

  pad(): Token {
    if (!this.compressed) return { ...this.plain(this.padId), visible: 0 };
    return ZEROS;
  }

  flatten(rows: readonly (readonly Token[])[]): Pass {
    const numPlain = this.plainIds.length;
    const begins = {
      plain: 0,
      pooled: numPlain,
      sampled: numPlain + this.groupOffsets.length - 1,
    };
    const tokens = rows.flat();
    return {
      rows: rows.map((row) => ({
        length: row.length,
        visible: row.map(({ visible }) => visible),
      })),
      sources: Uint32Array.from(tokens, ({ from, index }) => begins[from] + index),
      labels: Int32Array.from(tokens, ({ label }) => label),
    };
  }
}
