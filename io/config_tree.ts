/**
 * Configurations as values by path (`trainer.max_epochs`), between nested YAML and a schema's keys.
 *
 * A path is what a dotted argument names; keeping values flat makes "every key of this name" and "which key is
 * missing" one loop each. Text is read by the npm package `yaml` (YAML 1.2, core schema).
 */
import { parseDocument, stringify } from "yaml";
import { isKind, type Kind, type Schema, shown, type Value } from "./config_kinds.ts";
import { ELSEWHERE, ONLY_THERE } from "./config_schema.ts";
import { nearest } from "./nearest.ts";

/** The keys of a configuration by path, in the schema's order. */
export type Keys = ReadonlyMap<string, Kind>;

/** Values by path. */
export type Values = Map<string, Value>;

/** Nested mappings with values at their ends. */
export interface Tree {
  [key: string]: Value | Tree;
}

/** Every key of a schema by its path. */
export function keysOf(schema: Schema, prefix = ""): Keys {
  return new Map(
    Object.entries(schema).flatMap(([name, node]): [string, Kind][] =>
      isKind(node) ? [[prefix + name, node]] : [...keysOf(node, `${prefix}${name}.`)]
    ),
  );
}

/** The last part of a path: `lr` of `model.training_kwargs.optimizer.lr`. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1);
}

/** The keys below a group: of that path (`trainer`, `model.model_kwargs.lora_config`), or of that name anywhere. */
export function keysBelow(group: string, keys: Keys): string[] {
  const anywhere = !group.includes(".");
  return [...keys.keys()].filter((path) =>
    anywhere ? `.${path}`.includes(`.${group}.`) : path.startsWith(`${group}.`)
  );
}

/**
 * Reads YAML.
 * @param origin what the message names, a file or an argument
 * @returns mappings, lists and scalars; null for empty text
 * @throws {SyntaxError} when the text is no YAML, or a key is there twice.
 */
export function parseYaml(text: string, origin: string): unknown {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error) throw new SyntaxError(`${origin} is not YAML: ${error.message.split("\n")[0]}`);
  return document.toJS();
}

/** Values as YAML with nested mappings, in the order of `keys`. */
export function formatYaml(values: ReadonlyMap<string, Value>, keys: Keys): string {
  return stringify(nest(values, keys), { lineWidth: 0 });
}

/** The nested form of values, in the order of `keys`. */
export function nest(values: ReadonlyMap<string, Value>, keys: Keys): Tree {
  const root: Tree = {};
  for (const path of keys.keys()) {
    const groups = path.split(".");
    const name = groups.pop()!;
    let node = root;
    for (const group of groups) node = (node[group] ??= {}) as Tree;
    node[name] = values.get(path) ?? null;
  }
  return root;
}

/**
 * The values of a nested tree by path, not yet checked.
 * @param origin the file, as messages name it
 * @throws {RangeError} for a key that does not exist, {TypeError} for a value where keys should be.
 */
export function flatten(
  tree: unknown,
  keys: Keys,
  origin: string,
  prefix = "",
): [string, unknown][] {
  if (!isMapping(tree)) throw notAGroup(origin, prefix.slice(0, -1), tree);
  return Object.entries(tree).flatMap(([name, node]): [string, unknown][] => {
    const path = prefix + name;
    if (keys.has(path)) return [[path, node]];
    const isGroup = [...keys.keys()].some((key) => key.startsWith(`${path}.`));
    if (isGroup) return flatten(node, keys, origin, `${path}.`);
    throw new RangeError(`${origin}: ${unknownKey(path, keys).message}`);
  });
}

/** The error for a key that does not exist: what to do instead, or the nearest that does. */
export function unknownKey(key: string, keys: Keys): RangeError {
  const name = nameOf(key);
  if (Object.hasOwn(ONLY_THERE, name)) return new RangeError(ONLY_THERE[name]);
  const near = suggestion(key, [...keys.keys()]);
  const advice = near ? `did you mean '${near}'?` : "--print_config shows every key";
  const hint = Object.hasOwn(ELSEWHERE, name) ? ELSEWHERE[name] : advice;
  return new RangeError(`Unknown config key '${key}' (${hint})`);
}

/** Whether a YAML node has keys. */
export function isMapping(node: unknown): node is Record<string, unknown> {
  return typeof node === "object" && node !== null && !Array.isArray(node);
}

function suggestion(key: string, paths: readonly string[]): string | undefined {
  const names = [...new Set(paths.map(nameOf))];
  if (!key.includes(".")) return nearest(key, names);
  const last = nameOf(key);
  const name = names.includes(last) ? last : nearest(last, names);
  const sameName = paths.filter((path) => nameOf(path) === name);
  return nearest(key, sameName) ?? sameName[0] ?? nearest(key, paths);
}

function notAGroup(origin: string, path: string, node: unknown): TypeError {
  return new TypeError(
    `${origin}${path && `: ${path}`} must have keys and values below it, got ${shown(node)}`,
  );
}
