/** A key that nobody reads must not exist: each key of the schema is accessed as a property by the program. */
import assert from "node:assert/strict";
import { SCHEMAS } from "../../io/config_schema.ts";
import { keysOf, nameOf } from "../../io/config_tree.ts";
import { readTree, type Tree, withoutComments } from "../source_tree.ts";

const READERS = /^((models|training|io|data)\/\w+|main)\.ts$/;
const DEFINITIONS = /^io\/config_(schema|profile)\.ts$/;

/** Keys that no reader accesses: as `.key`, as a part of a dotted path, or in a pattern that takes an object apart. */
function unread(keys: Iterable<string>, tree: Tree): string[] {
  const read = new Set<string>();
  for (const [path, text] of tree) {
    if (!READERS.test(path) || DEFINITIONS.test(path)) continue;
    const code = withoutComments(text);
    for (const [, name] of code.matchAll(/\.(\w+)\b/g)) read.add(name);
    for (const pattern of patternsIn(code)) {
      for (const [, name] of pattern.matchAll(/[{,]\s*(\w+)/g)) read.add(name);
    }
  }
  return [...keys].filter((key) => !read.has(key));
}

/** Patterns that take objects apart: after `const` before `=`, and parameters, before a type or an arrow. */
function* patternsIn(code: string): Iterable<string> {
  for (const { index, 0: { length } } of code.matchAll(/(?:\b(?:const|let)\s*|[(,]\s*)(?=\{)/g)) {
    const begin = index + length;
    let end = begin;
    for (let depth = 0; end < code.length;) {
      depth += { "{": 1, "}": -1 }[code[end++]] ?? 0;
      if (depth === 0) break;
    }
    if (/^\s*(:|=(?!=)|\)\s*(:|=>)|\]\s*(:|=))/.test(code.slice(end))) yield code.slice(begin, end);
  }
}

Deno.test("config keys: one that only its definition and a type name is found", () => {
  const tree = new Map([
    ["io/config_schema.ts", "const A = { unread: integer(0), lr: 1 }; x.unread;"],
    ["models/a.ts", "interface B { readonly unread: number; } // config.unread\nx.width;"],
    ["training/b.ts", 'const { lr: rate, seed } = config; values.get("trainer.max_epochs");'],
    ["data/c.ts", "function f({ alpha, b: { beta = 1 } }: Options) { return g({ made: 1 }); }"],
    ["io/e.ts", "list.map(({ gamma }) => gamma);"],
    ["tests/d.ts", "config.unread"],
  ]);
  const keys = ["unread", "width", "lr", "seed", "max_epochs", "alpha", "beta", "gamma", "made"];
  assert.deepEqual(unread(keys, tree), ["unread", "made"]);
});

Deno.test("config keys: each key of every model is read", async () => {
  const tree = await readTree(new URL("../../", import.meta.url));
  const keys = Object.values(SCHEMAS).flatMap((schema) => [...keysOf(schema).keys()].map(nameOf));
  const names = new Set(keys);
  console.log(`  ${names.size} keys of ${Object.keys(SCHEMAS).length} models`);
  assert.ok(names.has("lr") && names.size > 40);
  assert.deepEqual(unread(names, tree), []);
});
