/**
 * The file that a configuration names as `model.target`, and the keys that it brings: one of models/, whose keys stand
 * in config_schema.ts, or a file of the user's own, which exports them as `options`.
 *
 * A file of one's own is looked for from the current folder, then from the project's, as model_id is. A checkpoint says
 * where it was; on another machine, or published, `model.target=FILE` says where it is.
 */
import { relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { exists } from "./atomic.ts";
import { isKind, type Schema, shown } from "./config_kinds.ts";
import { ownSchema, SCHEMAS } from "./config_schema.ts";
import { isMapping, type Keys, keysOf, parseYaml } from "./config_tree.ts";
import { runFolderOf } from "./run_log.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const TARGET = /^\s*(model\.)?target\s*=/;

/** Whether a target is one of the project's methods. */
export function isBuiltIn(target: unknown): target is keyof typeof SCHEMAS {
  return typeof target === "string" && Object.hasOwn(SCHEMAS, target);
}

/** What a tree says at `model.target`, not yet checked. */
export function targetOf(tree: unknown): unknown {
  const model = isMapping(tree) ? tree.model : undefined;
  return isMapping(model) ? model.target : undefined;
}

/**
 * The keys that a configuration has, by what a tree says at `model.target`.
 * @param origin the file that the tree is from, as messages name it
 * @throws {RangeError} when it names no method, {TypeError} when the file's `options` are no keys.
 */
export async function keysOfModel(tree: unknown, origin: string): Promise<Keys> {
  const target = targetOf(tree);
  if (isBuiltIn(target)) return keysOf(SCHEMAS[target]);
  const path = typeof target === "string" ? await findFile(target) : undefined;
  if (typeof target !== "string" || path === undefined) {
    const known = Object.keys(SCHEMAS).sort().join(" or ");
    throw new RangeError(
      `${origin}: model.target must be ${known}, or a file of your own that is there, got ${
        shown(target)
      }`,
    );
  }
  const { options = {} } = await import(pathToFileURL(path).href);
  checkOptions(options, target);
  return keysOf(ownSchema(target, options));
}

/** Those arguments that say where a method's file is. */
export function targetArguments(overrides: readonly string[]): string[] {
  return overrides.filter((argument) => TARGET.test(argument));
}

/**
 * A saved configuration with a method's file that is here: of a method of one's own the one that the last argument
 * names, where one does.
 * @param origin the checkpoint's folder or the file, as messages name it
 * @throws {RangeError} when there is no such file, or it came with the checkpoint.
 */
export async function withTarget(
  tree: unknown,
  overrides: readonly string[],
  origin: string,
): Promise<unknown> {
  const saved = targetOf(tree);
  if (typeof saved !== "string" || !saved.endsWith(".ts") || isBuiltIn(saved)) return tree;
  const argument = targetArguments(overrides).at(-1);
  const named = argument && parseYaml(argument.replace(TARGET, ""), argument);
  const target = typeof named === "string" ? named : saved;
  const own = { ...tree as object, model: { ...(tree as { model: object }).model, target } };
  await refuseOwnCode(own, origin);
  if (isBuiltIn(target) || await findFile(target) !== undefined) return own;
  throw new RangeError(
    `'${origin}' is of a method whose file, '${target}', is not in the current folder or the project's; ` +
      "run from the folder in which it was named, or add model.target=FILE (its code is run: read a stranger's first)",
  );
}

/**
 * Refuses code that came with a checkpoint: loading a folder from elsewhere must not run what it holds.
 * @param checkpoint the checkpoint's folder
 * @throws {RangeError} when `model.target` is below it, or below its run's.
 */
export async function refuseOwnCode(tree: unknown, checkpoint: string): Promise<void> {
  const target = targetOf(tree);
  if (typeof target !== "string" || isBuiltIn(target)) return;
  const path = await findFile(target);
  const folder = resolve(runFolderOf(checkpoint) ?? checkpoint);
  if (path === undefined || relative(folder, path).startsWith("..")) return;
  throw new RangeError(
    `'${checkpoint}' names '${target}', a file that came with it, as model.target, and that is not run; ` +
      "read the file, and move it out of the folder if you trust it",
  );
}

/**
 * Loads the file that a target names.
 * @returns what it exports
 * @throws {RangeError} when there is none.
 */
export async function importModel(target: string): Promise<Readonly<Record<string, unknown>>> {
  const path = isBuiltIn(target) ? resolve(ROOT, target) : await findFile(target);
  if (path !== undefined) return await import(pathToFileURL(path).href);
  throw new RangeError(
    `model.target: no file '${target}' in the current folder or the project's; ` +
      "run from the folder in which it was named",
  );
}

async function findFile(target: string): Promise<string | undefined> {
  if (!target.endsWith(".ts")) return undefined;
  for (const path of [resolve(target), resolve(ROOT, target)]) if (await exists(path)) return path;
  return undefined;
}

function checkOptions(options: unknown, target: string): asserts options is Schema {
  if (isMapping(options) && Object.values(options).every(isNode)) return;
  throw new TypeError(
    `${target}: options must have a kind of io/config_kinds.ts for each key, or a group of them`,
  );
}

function isNode(node: unknown): boolean {
  if (!isMapping(node)) return false;
  return isKind(node as Schema) || Object.values(node).every(isNode);
}
