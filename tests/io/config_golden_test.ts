/** What arguments change, against the repository's copy of the recorded table; golden_test.ts checks those of other sets. */
import golden from "../golden/config_overrides.json" with { type: "json" };
import { checkOverride, checkRows, expectation, type OverrideRow } from "./config_overrides.ts";

const table: readonly OverrideRow[] = golden.table as OverrideRow[];

for (const row of table) {
  const name = `config ${row.model} ${row.argument}: ${expectation(row)}`;
  Deno.test(name, () => checkOverride(row));
}

Deno.test("config: no listed row is missing from the published table", () => checkRows(table));
