/** The table of deviations: every row of the audit has its line, and the file is what the program says. */
import assert from "node:assert/strict";
import { SWITCHES } from "../../io/config_profile.ts";
import { deviationsText, PLAIN_ROWS } from "../../io/deviations.ts";

/** Rows A and B of the audit: A changes published numbers, B affects training or comparability. */
const AUDIT = [
  ..."A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16 A17 A18 A19 A20 A21 A22 A23".split(
    " ",
  ),
  ..."B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11 B12 B13 B14 B15 B16 B17 B18 B19 B20 B21 B22 B23 B24".split(
    " ",
  ),
];

Deno.test("deviations: every row of the audit is a switch, or says why it is none", () => {
  const switched = Object.values(SWITCHES).flatMap(({ row }) => row.split(", "));
  const plain = PLAIN_ROWS.map(({ row }) => row);
  const both = plain.filter((row) => switched.includes(row));
  assert.deepEqual(both, [], "a row stands in both tables");
  assert.equal(new Set(plain).size, plain.length, "a row stands twice");
  const listed = new Set([...switched, ...plain]);
  assert.deepEqual(AUDIT.filter((row) => !listed.has(row)), []);
  const unknown = [...listed].filter((row) => !AUDIT.includes(row));
  assert.deepEqual(unknown.sort(), ["C1", "C11", "none"]);
});

Deno.test("deviations: each switch names its methods, both values and the published lines", () => {
  const lines = deviationsText().split("\n");
  for (const [name, { where, changes }] of Object.entries(SWITCHES)) {
    const line = lines.filter((text) => text.startsWith(`| \`${name}\` `));
    assert.equal(line.length, 1, name);
    assert.ok(line[0].includes(`\`${where}\``) && line[0].includes(changes), name);
    const [, , methods, released, corrected] = line[0].split("|").map((cell) => cell.trim());
    assert.match(methods, /^(all|(cot|colar|icot|coconut|distill|codi)(, \w+)*)$/, name);
    assert.ok(released.length > 2 && corrected.length > 2, name);
  }
  const cells = (name: string) =>
    lines.find((text) => text.startsWith(`| \`${name}\` `))!.split("|").slice(2, 5).map((cell) =>
      cell.trim()
    );
  assert.deepEqual(cells("layout"), ["colar", "`as-released`", "`clean`"]);
  assert.deepEqual(cells("top_k"), ["all", "`50`", "`0`"]);
});

Deno.test("docs/deviations.md is what the program says", async () => {
  const path = new URL("../../docs/deviations.md", import.meta.url);
  const isSame = await Deno.readTextFile(path) === deviationsText();
  assert.ok(isSame, "docs/deviations.md is stale: make it again with ./denow task docs");
});
