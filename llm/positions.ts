/**
 * Rows that a model cannot place: GPT-2 has a table of `n_positions`, Llama's and Qwen2's rotary positions were trained
 * to `max_position_embeddings`. Both are told before anything is computed, by the row and what to do.
 */
import type { Backbone } from "./backbone.ts";
import type { Tokens } from "./tokens.ts";

/** A row of a batch that needs more positions than the model has. */
export class TooLongError extends RangeError {
  /**
   * @param row its place in the batch
   * @param numRows rows of the batch
   * @param problem what is wrong with it; completes "row 3 of the batch ..."
   */
  constructor(readonly row: number, readonly numRows: number, readonly problem: string) {
    super(`row ${row} of the batch ${problem}`);
  }
}

type Placing = Pick<Backbone, "config" | "maxPositions">;

/**
 * Refuses tokens beyond the model's last position.
 * @throws {TooLongError} naming the first row that has some.
 */
export function checkPositions(model: Placing, { positions, offsets }: Tokens): void {
  for (let i = 0; i < positions.length; i++) {
    if (positions[i] < model.maxPositions) continue;
    const row = offsets.findLastIndex((begin) => begin <= i);
    const needed = 1 +
      positions.subarray(offsets[row], offsets[row + 1]).reduce((a, b) => Math.max(a, b));
    throw needsMore(model, row, offsets.length - 1, needed);
  }
}

/** A prompt, and what may follow it. */
export interface Growth {
  /** Tokens of the prompt. */
  readonly length: number;
  /** Position of its last token. */
  readonly last: number;
  /** Tokens and latents that may follow; the last one is never fed back. */
  readonly room: number;
}

/**
 * Refuses prompts that leave too little room to answer, before the first is computed.
 * @throws {TooLongError} naming the first such prompt.
 */
export function checkRoom(model: Placing, prompts: readonly Growth[]): void {
  const row = prompts.findIndex(({ last, room }) => last + room > model.maxPositions);
  if (row < 0) return;
  const { length, room } = prompts[row];
  throw new TooLongError(
    row,
    prompts.length,
    `has a prompt of ${length} tokens and may grow by ${room}, ${limit(model)}; ` +
      "set a smaller max_new_tokens, shorten it or leave it out",
  );
}

/**
 * Refuses rows that will be computed whole, latents and what follows them too, before the first is.
 * @throws {TooLongError} naming the first row that has no position for its last token.
 */
export function checkWhole(model: Placing, rows: readonly Omit<Growth, "length">[]): void {
  const row = rows.findIndex(({ last, room }) => last + room >= model.maxPositions);
  if (row >= 0) throw needsMore(model, row, rows.length, rows[row].last + rows[row].room + 1);
}

/**
 * The same error with the row named as the caller knows it; any other error as it is.
 * @param names of the batch's rows, such as `training row 17`
 */
export function withRowNames(error: unknown, names: readonly string[]): unknown {
  if (!(error instanceof TooLongError) || error.numRows !== names.length) return error;
  return new RangeError(`${names[error.row]} ${error.problem}`, { cause: error });
}

function needsMore(model: Placing, row: number, numRows: number, needed: number): TooLongError {
  const problem = `needs ${needed} positions, ${limit(model)}; shorten it or leave it out`;
  return new TooLongError(row, numRows, problem);
}

function limit({ config, maxPositions }: Placing): string {
  const key = config.model_type === "gpt2" ? "n_positions" : "max_position_embeddings";
  return `but the model has ${maxPositions} (${key} of its config.json)`;
}
