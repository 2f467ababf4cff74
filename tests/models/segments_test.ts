/** What stands around the latents: pads, labels and positions, each switch alone. */
import assert from "node:assert/strict";
import { IGNORED } from "../../models/language_loss.ts";
import {
  joinRows,
  layFollowing,
  type LayoutOptions,
  layQuestions,
  packedIds,
  packedLabels,
  rowFrom,
} from "../../models/segments.ts";

const QUESTIONS = [[1, 2, 3], [4]];
const ROWS = [{ steps: [5], answer: [6, 7, 8] }, { steps: [9, 10], answer: [11] }];
const CLEAN: LayoutOptions = {
  label_pads: false,
  supervise_transition: true,
  position_ids: "mask",
};
const lay = (changes: Partial<LayoutOptions>) =>
  layFollowing(ROWS, { ...CLEAN, ...changes, column: 3, padId: 0 });

Deno.test("segments: corrected rows hold their tokens alone, all supervised", () => {
  const rows = lay({});
  assert.deepEqual(rows.map(({ ids }) => ids), [[5, 6, 7, 8], [9, 10, 11]]);
  assert.deepEqual(rows.map(({ labels }) => labels), rows.map(({ ids }) => ids));
  for (const { visible, positions, length } of rows) {
    assert.deepEqual(visible, Array(length).fill(1));
    assert.equal(positions, undefined);
  }
});

Deno.test("segments: label_pads keeps the pads left of steps and right of answers", () => {
  const rows = lay({ label_pads: true });
  assert.deepEqual(rows.map(({ ids }) => ids), [[0, 5, 6, 7, 8], [9, 10, 11, 0, 0]]);
  assert.deepEqual(rows.map(({ labels }) => labels), rows.map(({ ids }) => ids));
  assert.deepEqual(rows.map(({ visible }) => visible), [[0, 1, 1, 1, 1], [1, 1, 1, 0, 0]]);
});

Deno.test("segments: without supervise_transition the first token has no label", () => {
  const rows = lay({ supervise_transition: false });
  assert.deepEqual(rows.map(({ labels }) => labels), [[IGNORED, 6, 7, 8], [IGNORED, 10, 11]]);
});

Deno.test("segments: as-released positions are columns of the padded batch, pads or none", () => {
  const positions = (label_pads: boolean) =>
    lay({ position_ids: "as-released", label_pads }).map((row) => row.positions);
  assert.deepEqual(positions(false), [[4, 5, 6, 7], [3, 4, 5]]);
  assert.deepEqual(positions(true), [[3, 4, 5, 6, 7], [3, 4, 5, 6, 7]]);
  const questions = layQuestions(QUESTIONS, "as-released");
  assert.deepEqual(questions.map((row) => row.positions), [[0, 1, 2], [2]]);
  assert.deepEqual(layQuestions(QUESTIONS, "mask").map((row) => row.positions), [
    undefined,
    undefined,
  ]);
});

Deno.test("segments: questions carry no labels, and joined rows lie end to end", () => {
  for (const position_ids of ["mask", "as-released"] as const) {
    const rows = joinRows(layQuestions(QUESTIONS, position_ids), lay({ position_ids }));
    assert.deepEqual([...packedIds(rows)], [1, 2, 3, 5, 6, 7, 8, 4, 9, 10, 11]);
    const none = IGNORED;
    assert.deepEqual([...packedLabels(rows)], [none, none, none, 5, 6, 7, 8, none, 9, 10, 11]);
    assert.deepEqual(rows.map(({ length }) => length), [7, 4]);
    assert.deepEqual(
      rows.map((row) => row.positions),
      position_ids === "mask" ? [undefined, undefined] : [[0, 1, 2, 4, 5, 6, 7], [2, 3, 4, 5]],
    );
  }
});

Deno.test("segments: the rest of a row keeps its tokens' labels, masks and positions", () => {
  const [row] = joinRows(layQuestions(QUESTIONS, "as-released"), lay({ label_pads: true }));
  const whole = { ...row, positions: row.ids.map((_, i) => 10 + i) };
  const rest = rowFrom(whole, 2);
  assert.deepEqual(rest, {
    ids: [3, 0, 5, 6, 7, 8],
    length: 6,
    labels: [IGNORED, 0, 5, 6, 7, 8],
    visible: [1, 0, 1, 1, 1, 1],
    positions: [12, 13, 14, 15, 16, 17],
  });
  assert.equal(rowFrom(row, 2).positions, undefined);
});
