/** Shared by the tests of the configuration. */
import assert from "node:assert/strict";
import { type Config, resolveConfig, type Resolved } from "../../io/config.ts";

/** What a message says about a key that resembles none. */
export const ADVICE = "--print_config shows every key";

/** Values by path. */
export function flat(node: unknown, path = ""): [string, unknown][] {
  if (typeof node !== "object" || node === null || Array.isArray(node)) return [[path, node]];
  return Object.entries(node).flatMap(([name, below]) =>
    flat(below, path ? `${path}.${name}` : name)
  );
}

/** The paper's run with arguments. */
export function resolve(model: string, ...overrides: string[]): Promise<Resolved> {
  return resolveConfig({ model, dataset: "gsm8k_aug", overrides });
}

/** Paths whose value differs, with the value in `b`. */
export function changes(a: Config, b: Config): Record<string, unknown> {
  const before = new Map(flat(a));
  const after = flat(b);
  assert.deepEqual(after.map(([path]) => path), [...before.keys()]);
  return Object.fromEntries(
    after.filter(([path, value]) => JSON.stringify(value) !== JSON.stringify(before.get(path))),
  );
}

/** The message of a user's mistake. */
export async function message(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
  } catch (error) {
    assert.ok(
      error instanceof RangeError || error instanceof TypeError || error instanceof SyntaxError,
      String(error),
    );
    return error.message;
  }
  return "no error";
}
