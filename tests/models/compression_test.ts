/** Where groups stand, against the published layout of six rows and the definition of the clean one. */
import assert from "node:assert/strict";
import { compressionFactors, groupSteps, thinkingSpeeds } from "../../models/compression.ts";

/** Lengths of the six golden rows' steps, and the masks that the published code made of them. */
const LENGTHS = [17, 15, 8, 25, 23, 47];
const PUBLISHED: Readonly<Record<number, readonly (readonly [number, number, number])[]>> = {
  // c: [pads before, groups, pads after] of each row
  2: [[16, 9, 0], [17, 8, 0], [19, 5, 1], [12, 13, 0], [13, 12, 0], [1, 24, 0]],
  3: [[10, 7, 0], [10, 6, 1], [13, 4, 0], [8, 9, 0], [8, 9, 0], [0, 17, 0]],
  4: [[8, 5, 0], [8, 5, 0], [9, 3, 1], [6, 7, 0], [6, 7, 0], [0, 13, 0]],
  5: [[6, 5, 0], [6, 4, 1], [7, 3, 1], [4, 6, 1], [4, 6, 1], [0, 11, 0]],
};

/** Ids 0, 1, 2, ...; id 0 plays the separator. */
const steps = LENGTHS.map((length) => Array.from({ length }, (_, i) => i));

Deno.test("groupSteps(): the published layout, its rows that end in pads included", () => {
  for (const [c, expected] of Object.entries(PUBLISHED)) {
    const rows = groupSteps(steps, Number(c), "as-released");
    const found = rows.map(({ before, groups, after }) => [before, groups.length, after]);
    assert.deepEqual(found, expected, `c = ${c}`);
  }
});

Deno.test("groupSteps(): clean rows end in the last column", () => {
  const rows = groupSteps(steps, 3, "clean");
  assert.deepEqual(rows.map(({ before, groups, after }) => before + groups.length + after), [
    ...Array(6).fill(17),
  ]);
  assert.ok(rows.every(({ after }) => after === 0));
  assert.deepEqual(rows[2].groups, [[0], [1, 2, 3], [4, 5, 6], [7]]);
});

Deno.test("groupSteps(): one token a group at c = 1 in both layouts; a lone separator is a group", () => {
  for (const layout of ["clean", "as-released"] as const) {
    const rows = groupSteps([[0], [0, 1, 2]], 1, layout);
    assert.deepEqual(rows[0], { groups: [[0]], before: 2, after: 0 });
    assert.deepEqual(rows[1], { groups: [[0], [1], [2]], before: 0, after: 0 });
  }
  assert.deepEqual(groupSteps([[0]], 4, "clean"), [{ groups: [[0]], before: 0, after: 0 }]);
  // Four pads behind would make a group of pads: they go in front.
  assert.deepEqual(groupSteps([[0]], 4, "as-released"), [{ groups: [[0]], before: 1, after: 0 }]);
});

Deno.test("groupSteps(): every layout has one width and keeps every token", () => {
  for (let longest = 1; longest < 14; longest++) {
    const rows = Array.from(
      { length: longest },
      (_, i) => Array.from({ length: i + 1 }, (_, j) => j),
    );
    for (let c = 1; c <= 5; c++) {
      for (const layout of ["clean", "as-released"] as const) {
        const found = groupSteps(rows, c, layout);
        const widths = found.map(({ before, groups, after }) => before + groups.length + after);
        assert.equal(new Set(widths).size, 1);
        found.forEach(({ groups, before, after }, row) => {
          assert.ok(before >= 0 && (after === 0 || after === 1));
          assert.deepEqual(groups.flat(), rows[row]);
        });
      }
    }
  }
});

Deno.test("groupSteps(): a compression factor below 1 is refused", () => {
  for (const c of [0, 1.5, NaN]) {
    assert.throws(() => groupSteps(steps, c, "clean"), {
      name: "RangeError",
      message: `compression_factor must be an integer from 1, got ${c}`,
    });
  }
});

Deno.test("factors and speeds as numbers, lists and text", () => {
  assert.deepEqual(compressionFactors(3), [1, 2, 3]);
  assert.deepEqual(compressionFactors("1, 3,5"), [1, 3, 5]);
  assert.deepEqual(compressionFactors([2, 4]), [2, 4]);
  assert.deepEqual(thinkingSpeeds(5), [5]);
  assert.deepEqual(thinkingSpeeds("auto"), ["auto"]);
  assert.deepEqual(thinkingSpeeds("2,5"), [2, 5]);
  assert.deepEqual(thinkingSpeeds([2, "auto"]), [2, "auto"]);
  assert.deepEqual(thinkingSpeeds("5, auto,1.5"), [5, "auto", 1.5]);
});
